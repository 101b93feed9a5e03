#!/bin/bash
#SBATCH --job-name=benchmark
#SBATCH --array=1-16
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
# Workers that share nothing but the runs folder, each a `benchmark run` of the same plan:
#   sbatch docs/slurm/array.sh --plan paper/table6 --data-dir /shared/data
# A run is one worker's at a time by its lock in the runs folder. Give GPU jobs --gres=gpu:1.
set -euo pipefail

# Tracking waits for the end: sixteen writers do not get on with one SQLite file.
exec benchmark run "$@" --runs-dir "${RUNS:-runs}" --workers 1 --tracking-uri none
