#!/bin/bash
#SBATCH --job-name=benchmark
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
# A Ray cluster inside the allocation, and one driver on its first host:
#   sbatch docs/slurm/ray.sh run --plan paper/table6 --data-dir /shared/data --gpus-per-run 0.25
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | cut -d' ' -f1):6379
resources="--num-cpus=$SLURM_CPUS_PER_TASK --num-gpus=${SLURM_GPUS_ON_NODE:-0}"
options="$resources --disable-usage-stats --block"

srun --nodes=1 --ntasks=1 -w "$head" \
    ray start --head --port=6379 --include-dashboard=false $options &
sleep 20
if ((SLURM_JOB_NUM_NODES > 1)); then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) \
        --exclude="$head" ray start --address="$address" $options &
    sleep 20
fi

# Slurm ends the job's processes at its time limit; the same sbatch goes on from the last epochs.
srun --overlap --nodes=1 --ntasks=1 -w "$head" \
    benchmark "$@" --executor ray --address "$address" --runs-dir "${RUNS:-runs}"
