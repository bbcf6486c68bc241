"""1,000,000 hostile inputs over all fuzz targets: none crashes, hangs, or takes more than twice the memory allowed.

`ALIGNFED_FUZZ_INPUTS` is how many in all, `ALIGNFED_FUZZ_SEED` what they follow from. Guided by coverage where atheris
is installed; the report says which it was.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz.campaign import campaign
from tests.fuzz.guided import is_installed
from tests.fuzz.targets import SHARES

INPUTS = int(os.environ.get("ALIGNFED_FUZZ_INPUTS", "1000000"))
SEED = int(os.environ.get("ALIGNFED_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
PROCESSES = 2

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200 + INPUTS // 300)]


def test_hostile_inputs_by_the_million() -> None:
    failed = campaign(inputs=INPUTS, processes=PROCESSES, seed=SEED, names=list(SHARES), guided=is_installed())
    assert not failed, f"seed {SEED}: see the report; what failed is kept in tests/fuzz/corpus"
