#!/bin/sh
# Queue a job script of Snakemake; print the job's id.
exec tsp -L sgdnoise sh "$1"
