"""Version manifests: one form in bytes, and which version may follow the last accepted one."""

from __future__ import annotations

import dataclasses
import json

import pytest

from alignfed.errors import ManifestChainBroken, ManifestForeign, SignatureInvalid, VersionRefused, VersionReplayed
from alignfed.version_manifest import Branch, VersionManifest, check_describes, check_follows, decode
from tests.support.signing import child, digest, initial


def line(length: int, *, epoch: int = 1) -> list[VersionManifest]:
    history = [initial()]
    while len(history) < length:
        history.append(child(history[-1], epoch=epoch))
    return history


def rolled_back(history: list[VersionManifest], to: int, *, epoch: int) -> VersionManifest:
    back = child(history[to], epoch=epoch, rollback=True, name=str(to))
    number = history[-1].version.number + 1
    version = dataclasses.replace(back.version, number=number)
    return dataclasses.replace(back, version=version, branch=Branch(epoch=epoch, number=number))


def test_the_canonical_form_is_pinned() -> None:
    manifest = child(initial(), epoch=7)
    assert manifest.encode() == (
        '{"branch":{"epoch":0,"number":0},"created_at_microseconds":1700000000000001,"federation":"fed",'
        '"format":"alignfed.version-manifest.v1","kind":"merge",'
        f'"parent":{{"digest":"{digest("0")}","epoch":0,"number":0}},'
        f'"parent_manifest":"{initial().digest}",'
        f'"served_digest":"{digest("1")}","version":{{"digest":"{digest("1")}","epoch":7,"number":1}}}}'
    )
    assert decode(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"epoch":7', '"epoch": 7'),
        lambda text: text.replace("merge", "m\\u0065rge"),
        lambda text: text[:-1] + ',"epoch":7}',
        lambda text: text.replace(".v1", ".v2"),
        lambda text: json.dumps(json.loads(text), indent=1),
        lambda text: text.replace('"number":1}', '"number":true}'),
        lambda text: text + " " * 5000,
        lambda _text: "[" * 100_000,
        lambda _text: "",
    ],
)
def test_any_other_form_is_refused(change: object) -> None:
    text = change(child(initial(), epoch=7).encode())  # type: ignore[operator]
    with pytest.raises(SignatureInvalid):
        decode(text)


def test_a_manifest_of_another_version_or_federation_is_refused() -> None:
    manifest = initial()
    check_describes(manifest, federation="fed", version=manifest.version)
    with pytest.raises(ManifestForeign):
        check_describes(manifest, federation="other", version=manifest.version)
    with pytest.raises(ManifestForeign):
        check_describes(manifest, federation="fed", version=dataclasses.replace(manifest.version, digest=digest("x")))


def test_every_later_version_of_a_history_follows_every_earlier_one_and_never_the_other_way() -> None:
    history = line(4)
    history.append(child(history[-1], epoch=3))  # another worker leads
    history.append(rolled_back(history, 2, epoch=4))
    history.append(child(history[-1], epoch=5))
    for old in range(len(history)):
        for new in range(len(history)):
            if new >= old:
                check_follows(history[new], history[old])
            else:
                with pytest.raises(VersionReplayed):
                    check_follows(history[new], history[old])


def test_a_fork_is_refused_at_the_same_number_and_right_after() -> None:
    history = line(3)
    fork = child(history[1], epoch=1, name="fork")
    with pytest.raises(ManifestChainBroken):
        check_follows(fork, history[2])
    later = child(history[1], epoch=9, name="later lease, same place")
    with pytest.raises(ManifestChainBroken):
        check_follows(later, history[2])
    with pytest.raises(ManifestChainBroken):
        check_follows(child(later, epoch=9), history[2])


def test_of_versions_never_seen_only_order_and_branch_are_checked() -> None:
    history = line(3)
    other = child(child(child(history[1], epoch=2, name="fork"), epoch=2), epoch=2)
    check_follows(other, history[2])  # what docs/integrity.md says is not checked


def test_a_direct_child_must_name_the_manifest_of_its_parent() -> None:
    history = line(3)
    resigned = dataclasses.replace(history[1], created_at_microseconds=5)
    with pytest.raises(ManifestChainBroken):
        check_follows(history[2], resigned)


def test_what_an_older_rollback_led_to_does_not_come_back() -> None:
    history = line(3)
    first = rolled_back(history, 1, epoch=2)
    second = rolled_back([*history, first], 0, epoch=3)
    check_follows(second, first)
    with pytest.raises(VersionReplayed):
        check_follows(first, second)
    with pytest.raises(ManifestChainBroken):
        check_follows(child(child(first, epoch=5), epoch=5), second)  # the branch that `second` left


def test_a_restore_with_lower_numbers_is_followed_thanks_to_its_epoch() -> None:
    history = line(8)
    restored = rolled_back(history[:4], 3, epoch=1 << 20)
    assert restored.version.number < history[-1].version.number
    check_follows(restored, history[-1])
    check_follows(child(restored, epoch=(1 << 20) + 1), history[-1])


def test_a_federation_made_anew_under_the_same_name_is_refused() -> None:
    with pytest.raises(VersionRefused):
        check_follows(initial(name="new"), line(2)[1])
    with pytest.raises(VersionRefused):
        check_follows(initial(name="new"), initial())
