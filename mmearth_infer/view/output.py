"""Files that commands write: refused if they are there."""

from mmearth_infer.disk import check_files, check_suffix

__all__ = ["check_files", "check_suffix"]
