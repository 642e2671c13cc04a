"""What Python keeps until it looks for circles, which may be never: frames of an error that they hold themselves."""

import gc
from collections.abc import Callable
from types import FrameType

import aurora_cli

(PACKAGE,) = aurora_cli.__path__


def circles_of(act: Callable[[], object]) -> set[str]:
    """Our functions whose frames, with all that was in their variables, are still there after an act."""
    gc.collect()
    gc.disable()
    try:
        act()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        codes = [each.f_code for each in gc.garbage if isinstance(each, FrameType)]
        return {code.co_qualname for code in codes if code.co_filename.startswith(PACKAGE)}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
