# What the rules of extend.smk ask. The file of a window names the window that comes next, or itself if it is the last; that of a look
# lists the seeds that it adds, none if it is the last.
from snakemake.exceptions import IncompleteCheckpointException

START, LADDER, STUDY = [], {}, {}
if config["extend_grid"]:
    START, LADDER = windows.starts(config), windows.ladders(WIDEST)
    STUDY = {point: grid_part(study) for point, study in windows.studies(PLACED).items()}


def window_of(wildcards):
    return windows.Window(**dict(wildcards.items()) | {"batch_size": int(wildcards.batch_size)})


def cells_of(window):
    cells = windows.cells_of(window, LADDER[window.point], config["bracket_seeds"])
    return [f"{RESULTS}/{cell.path}" for cell in cells]


def window_cells(wildcards):
    return cells_of(window_of(wildcards))


def window_study(wildcards):
    return STUDY[window_of(wildcards).point]


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


def cells_of_windows():
    return of_last_windows(cells_of) if config["extend_grid"] else list(REACHABLE)


def look_file(number):
    return checkpoints.look.get(number=number).output[0]


def look_files(upto):
    """The files of the first looks, as far as they are known, and then that of the next."""
    found = []
    try:
        for path in looks.files(map(look_file, range(1, upto + 1))):
            found.append(path)
    except IncompleteCheckpointException as incomplete:
        found.append(incomplete.targetfile)
    return found


def added_cells(files):
    """The cells that looks have added."""
    if not (added := [looks.read(path) for path in files if os.path.exists(path)]):
        return []
    return [path for cell in grid.cells(WIDEST | {"looks": added}) if (path := f"{RESULTS}/{cell.path}") not in REACHABLE]


def earlier_looks(wildcards):
    return look_files(int(wildcards.number) - 1)


def look_cells(wildcards):
    return cells_of_windows() + added_cells(earlier_looks(wildcards))


def all_looks(wildcards):
    return look_files(looks.most(config)) if config["decide"] else []


def CELLS(wildcards):
    # Not from the frozen grid: that may be of the study as it was before it extended its windows and added seeds.
    files = all_looks(wildcards)
    return cells_of_windows() + added_cells(files) + files
