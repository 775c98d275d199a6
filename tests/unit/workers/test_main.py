"""`python -m workers`: which arguments make sense."""

import pytest

from workers.__main__ import main


@pytest.mark.parametrize("stages", [["prepare", "gate"], ["gate", "reconcile"]])
def test_what_needs_its_own_process_says_so(
    stages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(stages)
    assert ended.value.code == 2
    assert "a process of their own" in capsys.readouterr().err


def test_an_unknown_stage_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["foot"]) == 1
    assert "no stage 'foot'" in capsys.readouterr().err
