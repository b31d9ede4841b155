"""Answers to ``input()`` are recorded; passwords never are."""

from __future__ import annotations

from kernels import Kernel, observed, text


def test_answers_are_recorded_in_order(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start answers")
    shown = kernel.run("first = input('one? ')\nprint(first, input('two? '))", answers=["eins", "zwei"])
    kernel.run("%repro stop")
    assert text(shown) == "eins zwei\n"
    assert observed(kernel.record("answers"))[1].answers == ("eins", "zwei")


def test_a_password_is_nowhere_in_the_store(kernel: Kernel) -> None:
    secret = "correct horse battery staple"
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start secret")
    kernel.run("import getpass\nn = len(getpass.getpass())", answers=[secret])
    kernel.run("%repro stop")
    run = kernel.record("secret")
    assert observed(run)[1].answers == ()
    assert [gap.blocks for gap in run.gaps if "password" in gap.message] == [True]
    kept = [path for path in (kernel.project / ".reprokit").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
