"""What flags say of images and videos."""

from __future__ import annotations

import pytest
from packaging.version import Version

from planner.engine.command.effects import SIZED
from planner.engine.command.inputs import INPUTS
from planner.engine.command.meaning import read_flags

LIMIT = "--limit-mm-per-prompt"


@pytest.mark.parametrize(
    ("words", "without", "size"),
    [
        ([LIMIT, '{"image":{"count":2,"width":512,"height":256},"video":0}'], {"video"}, (512, 256)),
        ([LIMIT, '{"image":{"count":0},"video":{"count":0}}'], {"image", "video"}, None),
        ([LIMIT, '{"image":4}'], set(), None),
        ([LIMIT, '{"image":{"width":512}}'], set(), None),
        ([LIMIT, '{"image":{"width":"a","height":-1}}'], set(), None),
        (["--language-model-only"], INPUTS, None),
        ([], set(), None),
    ],
)
def test_kinds_that_are_left_out_and_the_size_of_images(
    words: list[str], without: set[str], size: tuple[int, int] | None
) -> None:
    found = read_flags(words, Version("0.24.0"))
    assert (found.traits.without, found.traits.image_size) == (without, size)


def test_images_of_a_size_are_a_small_doubt_where_no_video_is_profiled() -> None:
    sized = '{"image":{"count":2,"width":512,"height":256}'
    alone, beside_videos = (read_flags([LIMIT, sized + end], Version("0.24.0")).doubts for end in (',"video":0}', "}"))
    assert [one.share for one in alone] == [SIZED.share]
    assert [one.share for one in beside_videos] == [0.1]
