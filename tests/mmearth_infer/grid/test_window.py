"""Window algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import WindowError
from mmearth_infer.grid.window import Window


@st.composite
def window_in_frame(draw: st.DrawFn) -> tuple[Window, Window]:
    """A window, and a frame around it."""
    frame = Window(
        row=draw(st.integers(0, 9)),
        col=draw(st.integers(0, 9)),
        height=draw(st.integers(1, 20)),
        width=draw(st.integers(1, 20)),
    )
    down = draw(st.integers(0, frame.height - 1))
    across = draw(st.integers(0, frame.width - 1))
    inner = Window(
        row=frame.row + down,
        col=frame.col + across,
        height=draw(st.integers(1, frame.height - down)),
        width=draw(st.integers(1, frame.width - across)),
    )
    return frame, inner


@given(window_in_frame())
def test_seen_from(both: tuple[Window, Window]) -> None:
    """`image[frame][w.seen_from(frame)] == image[w]` for every w inside frame."""
    frame, inner = both
    image = np.arange(40 * 40).reshape(40, 40)
    np.testing.assert_array_equal(
        image[frame.slices][inner.seen_from(frame).slices], image[inner.slices]
    )


@given(window_in_frame(), st.integers(1, 5))
def test_times_commutes_with_seen_from(
    both: tuple[Window, Window], factor: int
) -> None:
    frame, inner = both
    assert inner.times(factor).seen_from(frame.times(factor)) == inner.seen_from(
        frame
    ).times(factor)


@given(window_in_frame(), st.integers(10, 30), st.integers(10, 30))
def test_clipped_lies_inside(
    both: tuple[Window, Window], height: int, width: int
) -> None:
    window, _ = both
    clipped = window.clipped(height, width)
    assert clipped.row + clipped.height <= height
    assert clipped.col + clipped.width <= width
    assert clipped.clipped(height, width) == clipped


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(WindowError, match="0 x 3"):
        Window(row=0, col=0, height=0, width=3)
