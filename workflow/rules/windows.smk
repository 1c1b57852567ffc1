# What the rules of extend.smk ask: the file of a window names the window that comes next, or itself if it is the last.
from snakemake.exceptions import IncompleteCheckpointException

START = windows.starts(config)
LADDER = windows.ladders(WIDEST)
STUDY = {point: grid_part(study) for point, study in windows.studies(PLACED).items()}


def window_of(wildcards):
    return windows.Window(**dict(wildcards.items()) | {"batch_size": int(wildcards.batch_size)})


def window_cells(wildcards):
    window = window_of(wildcards)
    cells = windows.cells_of(window, LADDER[windows.point_of(window)], config["bracket_seeds"])
    return [f"{RESULTS}/{cell.path}" for cell in cells]


def window_study(wildcards):
    return STUDY[windows.point_of(window_of(wildcards))]


def window_file(window):
    return checkpoints.extend.get(**{key: str(value) for key, value in vars(window).items()}).output[0]


def last_windows(wildcards):
    """The file of each point's last window; where it is not known yet, of the last that is. All in one list: none waits."""
    files = []
    for start in START:
        try:
            files.append(window_file(windows.last_window(start, window_file)))
        except IncompleteCheckpointException as incomplete:
            files.append(incomplete.targetfile)
    return files


def CELLS(wildcards):
    with open(checkpoints.freeze.get().output[0]) as file:
        return [f"{RESULTS}/{cell.path}" for cell in grid.cells(json.load(file))]
