"""The experiment from options to report."""

from __future__ import annotations

import dataclasses
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from alignfed.base_model import digest_of, fetch_from_hub
from alignfed.errors import DataUnusable, RequestInvalid
from alignfed.plan import Calibration, Lora
from bench.federation.data import EvaluationSize, built_in_sources, read_domain
from bench.federation.federation import Federation, check_control
from bench.federation.fleet import Layout
from bench.federation.regimes import REGIMES, Regime, get_regime
from bench.federation.tiny_model import tiny_model
from bench.findings.conclusion import conclude
from bench.findings.roles import DEFAULT
from bench.report.document import Told
from bench.report.publishing import publish
from bench.settle.campaign import Contest, Results, left_to_do
from bench.settle.runner import Workers, run_all
from bench.settle.scoring import Scoring, ask_base_model, find_syllabus, read_exam
from bench.tasks.exam import Exam, Syllabus
from coordinator.algo.recipes import RECIPES, get_recipe
from coordinator.cli.calibration_set import load_tokenizer
from coordinator.local.model import packaged_model
from coordinator.local.sources import Source

PACKAGED = "packaged"
MAIN_RECIPES = (
    DEFAULT, "participation", "alignfed-calibrated", "fedbuff", "fedasync", "fedavg",
    "alignfed-paper", "alignfed-paper-corrected", "alignfed-paper-unaligned",
)  # fmt: skip
QUICK_RECIPES = (
    DEFAULT,
    "participation",
    "fedbuff",
    "fedasync",
    "fedavg",
    "alignfed-paper",
    "alignfed-paper-unaligned",
)
QUICK_REGIME = dataclasses.replace(REGIMES["stress"], name="quick", duration_seconds=32.0)
DEFAULT_REGIMES = tuple(REGIMES)[:4]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for; see `alignfed bench settle --help`."""

    model: str | None
    data: Mapping[str, Path]
    regimes: tuple[str, ...]
    layouts: tuple[str, ...]
    recipes: str | None
    seeds: int
    tune: bool
    rates: tuple[float, ...]
    controls: tuple[str, ...]
    quick: bool
    jobs: int
    threads: int
    rank: int | None
    sequence_length: int
    batch_size: int
    learning_rate: float | None
    representation_penalty: float
    calibration_rows: int
    target: float | None
    gsm8k: Path | None
    code: Path | None
    run_generated_code: bool
    task_rows: int
    out: Path
    cache_dir: Path
    report_only: bool
    as_json: bool
    command: str


def settle(options: Options, *, say: Callable[[str], None]) -> None:
    """Carry out what is left of the experiment and write its report.

    Raises:
        AlignFedError: An option names something that does not exist or cannot be used, or a run cannot be carried out.
    """
    contest = contest_of(options)
    exam = exam_of(options)
    federation = federation_of(options, say=say)
    for variant in contest.variants:
        check_control(federation, variant)
    results = Results(folder=options.out / "results", federation=federation, tasks=exam.digest if exam else "")
    setups = contest.setups()
    missing = left_to_do(setups, results)
    say(f"{len(setups)} runs on {federation.name}: {len(setups) - len(missing)} finished, {len(missing)} to do")
    syllabus = _syllabus(exam, federation, options, say) if exam else None
    if not options.report_only:
        scoring = Scoring(exam=exam, measures=syllabus.measures) if exam and syllabus else None
        workers = Workers(processes=options.jobs, threads=options.threads)
        run_all(missing, results, workers, scoring=scoring, say=say)
    finished = results.finished(contest.regimes)
    if not finished:
        raise DataUnusable(f"no run has finished in {options.out}: run the same command without --report-only")
    codes = sorted({run.code for run in finished})
    if len(codes) > 1:
        say(f"note: {len(codes)} versions of the code made these results; use another --out to run all again")
    findings, field = conclude((run.result for run in finished), target=options.target)
    told = Told(
        command=options.command,
        settings=_settings(federation, contest.regimes, runs=len(finished), codes=codes),
        tasks=syllabus.notes if syllabus else {},
    )
    publish(findings, field, told, folder=options.out, as_json=options.as_json)


def exam_of(options: Options) -> Exam | None:
    """Return the held-out problems that the options name, if any.

    Raises:
        RequestInvalid: Generated code is to be run, and no problems are named that it could answer.
        DataUnusable: A file cannot be read or is empty.
    """
    if options.run_generated_code and options.code is None:
        raise RequestInvalid("--run-generated-code is about the problems of --code FILE: give them too")
    return read_exam(options.gsm8k, options.code, rows=options.task_rows, run_generated_code=options.run_generated_code)


def contest_of(options: Options) -> Contest:
    """Return the runs that the options ask for.

    Raises:
        PlanInvalid: A recipe or regime does not exist.
    """
    recipes: tuple[str, ...]
    if options.quick:
        regimes: tuple[Regime, ...] = tuple(map(get_regime, options.regimes)) or (QUICK_REGIME,)
        layouts: tuple[str, ...] = options.layouts or (Layout.TIED.value,)
        recipes, seeds = QUICK_RECIPES, 1
    else:
        regimes = tuple(get_regime(name) for name in options.regimes or DEFAULT_REGIMES)
        layouts = options.layouts or tuple(layout.value for layout in Layout)
        recipes, seeds = MAIN_RECIPES, options.seeds
    if options.recipes == "all":
        recipes = tuple(sorted(RECIPES))
    elif options.recipes:
        recipes = tuple(get_recipe(name.strip()).name for name in options.recipes.split(","))
    return Contest(
        regimes=regimes,
        layouts=tuple(map(Layout, layouts)),
        recipes=recipes,
        tuned=frozenset(recipes) - {DEFAULT} if options.tune else frozenset(),
        rates=options.rates,
        seeds=tuple(range(seeds)),
        variants=options.controls,
    )


def federation_of(options: Options, *, say: Callable[[str], None]) -> Federation:
    """Return the federation that the options describe, making the tiny or packaged model if need be.

    Raises:
        WrongBaseModel: The model cannot be read.
        DataUnusable: A domain cannot be read, is too small, or is the only one.
    """
    tiny = options.model is None
    model_dir = _model_dir(options, say)
    tokenizer = load_tokenizer(model_dir)
    sources = [Source(domain=name, path=path) for name, path in options.data.items()] or built_in_sources()
    if len(sources) < 2:
        raise RequestInvalid("one domain is no federation of unlike data: give --data at least twice")
    length, rows = options.sequence_length, options.calibration_rows
    sizes = EvaluationSize() if tiny else EvaluationSize(tuning_rows=6, test_rows=16)
    rank = options.rank or (4 if tiny else 8)
    return Federation(
        name="the tiny model" if tiny else model_dir.name,
        model_dir=model_dir,
        model_digest=digest_of(model_dir),
        domains=tuple(read_domain(source, tokenizer, sequence_length=length, sizes=sizes) for source in sources),
        lora=Lora(rank=rank, alpha=2.0 * rank),
        batch_size=options.batch_size,
        sequence_length=length,
        learning_rate=options.learning_rate or (5e-3 if tiny else 1e-3),
        calibration=Calibration(fit_rows=rows, judge_rows=rows, sequence_length=length),
        representation_penalty=options.representation_penalty,
        autocast=not tiny,
    )


def _syllabus(exam: Exam, federation: Federation, options: Options, say: Callable[[str], None]) -> Syllabus | None:
    if options.report_only:
        return find_syllabus(exam, federation, options.out)
    return ask_base_model(exam, federation, options.out, threads=options.jobs * options.threads, say=say)


def _model_dir(options: Options, say: Callable[[str], None]) -> Path:
    models = options.cache_dir / "models"
    if options.model is None:
        return tiny_model(models, Path(sysconfig.get_path("stdlib")), say=say)
    if options.model == PACKAGED:
        return packaged_model(models, say=say)
    path = Path(options.model).expanduser()
    return path if path.is_dir() else fetch_from_hub(options.model)


def _settings(federation: Federation, regimes: Sequence[Regime], *, runs: int, codes: Sequence[str]) -> dict[str, str]:
    calibration = federation.calibration
    settings = {
        "base model": f"{federation.name} ({federation.model_digest[:12]})",
        "domains": ", ".join(f"{domain.name} ({len(domain.train)} rows)" for domain in federation.domains),
        "LoRA": f"rank {federation.lora.rank}, alpha {federation.lora.alpha:g}, all linear layers",
        "training settings": f"{federation.batch_size} rows of {federation.sequence_length} tokens a step, "
        f"learning rate {federation.learning_rate:g}, AdamW",
        "calibration": f"{calibration.fit_rows} rows to fit, {calibration.judge_rows} to judge, per merge",
        "representation penalty": f"{federation.representation_penalty:g}",
        "federation": federation.digest,
        "runs": str(runs),
        "digests of the code": ", ".join(codes),
    }
    for regime in regimes:
        tiers = ", ".join(
            f"{tier.agents} of speed {tier.speed:g}"
            + (f" at {tier.learning_rate_ratio:g} times the learning rate" if tier.learning_rate_ratio != 1 else "")
            for tier in regime.tiers
        )
        settings[f"regime {regime.name}"] = (
            f"{tiers}; buffer {regime.buffer_size}, {regime.local_steps} local steps, {regime.duration_seconds:g} s"
        )
    return settings
