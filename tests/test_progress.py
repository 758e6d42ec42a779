from __future__ import annotations

import pytest

from headlong.progress import Progress, Silent


def test_silent_progress_takes_everything_and_shows_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    progress: Progress = Silent()
    with progress.stage("weights", 100, "B") as stage:
        stage.advance(60)
        stage.advance(40)
    progress.note("a remark")
    with progress.stage("again", 0, "") as stage:
        stage.advance(0)
    assert capfd.readouterr() == ("", "")


def test_an_error_in_a_stage_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), Silent().stage("weights", 1, "B"):
        raise KeyboardInterrupt
