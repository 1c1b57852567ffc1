# What the rules of extend.smk ask: the file of a window names the window that comes next, or itself if it is the last.
from snakemake.exceptions import IncompleteCheckpointException

START = windows.starts(config)
LADDER = windows.ladders(WIDEST)
STUDY = {point: grid_part(study) for point, study in windows.studies(PLACED).items()}


def window_of(wildcards):
    return windows.Window(**dict(wildcards.items()) | {"batch_size": int(wildcards.batch_size)})


def cells_of(window):
    cells = windows.cells_of(window, LADDER[windows.point_of(window)], config["bracket_seeds"])
    return [f"{RESULTS}/{cell.path}" for cell in cells]


def window_cells(wildcards):
    return cells_of(window_of(wildcards))


def window_study(wildcards):
    return STUDY[windows.point_of(window_of(wildcards))]


def window_file(window):
    return checkpoints.extend.get(**{key: str(value) for key, value in vars(window).items()}).output[0]


def of_last_windows(files):
    """The files of each point's last window; where it is not known yet, that of the last that is. All in one list: none waits."""
    found = []
    for start in START:
        try:
            found += files(windows.last_window(start, window_file))
        except IncompleteCheckpointException as incomplete:
            found.append(incomplete.targetfile)
    return found


def last_windows(wildcards):
    return of_last_windows(lambda window: [window_file(window)])


def CELLS(wildcards):
    # Not from the frozen grid: that may be of the study as it was before it extended its windows.
    return of_last_windows(cells_of)
