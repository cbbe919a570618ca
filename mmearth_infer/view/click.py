"""A window in which a place is clicked, and what resembles it is seen.

Shapes: 4 red, green, blue, alpha; H W pixels of the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from mmearth_infer.errors import MissingExtraError, MMEarthError, StoreError
from mmearth_infer.view.similarity import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from matplotlib.backend_bases import Event, MouseEvent
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox

SIZE_IN: Final = (12.0, 6.5)
"""Width and height of the window."""

ASKING: Final = "click a place"
"""Stands over likeness until one is clicked."""

_ELSE: Final = "--similar-to X,Y draws the same without a window"


def check_display() -> None:
    """Refuse where no window can be opened.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        StoreError: If there is no display, or nothing that draws windows.

    """
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("--click", extra="view") from error
    try:
        figure = plt.figure()  # which decides what draws windows
    except ImportError as error:
        raise StoreError(f"no window can be opened: {error}", hint=_ELSE) from error
    plt.close(figure)
    if figure.canvas.required_interactive_framework is None:
        raise StoreError(
            f"no window can be opened: matplotlib draws with `{plt.get_backend()}`, "
            "for want of a display, or of Tk or Qt",
            hint=_ELSE,
        )


def click_place(
    rgba_4HW: NDArray[np.uint8],
    box: GeoBox,
    likeness: Callable[[Place], NDArray[np.uint8]],
) -> Place:
    """Show a picture until its window is closed, and return the last place clicked.

    Args:
        rgba_4HW: The picture.
        box: Where it lies.
        likeness: Draws, on the same grid, what resembles a place; its errors are shown.

    Raises:
        StoreError: If no place was clicked that holds data.

    """
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- an extra

    window = Window(plt.figure(figsize=SIZE_IN), rgba_4HW, box, likeness)
    plt.show()
    if window.place is None:
        raise StoreError("no place was clicked", hint=f"click one; {_ELSE}")
    return window.place


class Window:
    """The picture on the left, likeness to the last place clicked on the right."""

    def __init__(
        self,
        figure: Figure,
        rgba_4HW: NDArray[np.uint8],
        box: GeoBox,
        likeness: Callable[[Place], NDArray[np.uint8]],
    ) -> None:
        """Draw the picture, and listen; see `click_place`."""
        self.place: Place | None = None
        self._likeness = likeness
        self._figure = figure
        left, bottom, right, top = box.bounds
        self._extent = (left, right, bottom, top)
        figure.set_layout_engine("constrained")
        picture, self._axes = figure.subplots(1, 2, sharex=True, sharey=True)
        picture.set_title("components")
        self._axes.set_title(ASKING)
        for axes in (picture, self._axes):
            axes.ticklabel_format(style="plain", useOffset=False)
            axes.imshow(_last_axis(rgba_4HW * (axes is picture)), extent=self._extent)
        self._marks = [
            axes.plot([], [], "+", color="red", markersize=14)[0]
            for axes in (picture, self._axes)
        ]
        figure.canvas.mpl_connect("button_press_event", self._hear)

    def _hear(self, event: Event) -> None:
        """Draw likeness to the place of a click; moving and zooming are no clicks."""
        click = cast("MouseEvent", event)
        toolbar = self._figure.canvas.toolbar
        busy = toolbar is not None and bool(getattr(toolbar, "mode", ""))
        if busy or click.xdata is None or click.ydata is None:
            return
        place = Place(x=click.xdata, y=click.ydata, lonlat=False)
        try:
            rgba_4HW = self._likeness(place)
        except MMEarthError as error:
            self._axes.set_title(str(error), wrap=True, fontsize="small")
        else:
            self.place = place
            self._axes.set_title(f"likeness to {place}")
            self._axes.images[0].set_data(_last_axis(rgba_4HW))
            for mark in self._marks:
                mark.set_data([place.x], [place.y])
        self._figure.canvas.draw_idle()


def _last_axis(rgba_4HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as matplotlib wants them, colours last."""
    return rgba_4HW.transpose(1, 2, 0)
