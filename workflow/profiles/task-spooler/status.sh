#!/bin/sh
# Say in Snakemake's words how a job is doing.
case $(tsp -s "$1") in
    queued | running) echo running ;;
    finished) [ "$(tsp -i "$1" | sed -n 's/^Exit status: died with exit code //p')" = 0 ] && echo success || echo failed ;;
    *) echo failed ;;
esac
