#!/bin/bash
# One training job on several machines with GPUs under SLURM, put back into the queue whenever it has to make room.
#
#   sbatch experiments/launch/slurm_gpus.sh experiments/chebi20_base.py runs/base
#
# Submit it from the project's folder, which all machines see (as they must see the run folder).
#SBATCH --job-name=atomas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8            # one process a GPU, which is what jax expects under SLURM
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8              # threads that assemble batches, and XLA's own
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300              # SIGTERM to every process five minutes before the time is over: time to save
#SBATCH --requeue                      # this job may be started again, by the scheduler and by the last line
#SBATCH --open-mode=append             # one output file over all starts
#SBATCH --output=slurm-%j.out
set -uo pipefail

EXPERIMENT=$1
RUN=$2
CORPUS=${CORPUS:-corpora/chebi20}      # prepared beforehand, in one process: atomas prepare EXPERIMENT --out ...
# 16 GPUs: the 16 pairs of that recipe are split 8 ways, over both machines, and 2 GPUs share the work of each part.
# data x fsdp (x training.accumulate) must divide the experiment's batches.unit, which a run keeps from its first step.
MESH=${MESH:-data=2,fsdp=4,tensor=2}

unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY   # processes must find each other directly
export JAX_COMPILATION_CACHE_DIR=$PWD/.compiled       # a second start compiles nothing
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.92            # jax takes this much of a GPU at once; 0.75 by itself

# distributed auto: jax reads SLURM's variables for the coordinator, the number of processes and its own place, and
# takes one GPU a process. --kill-on-bad-exit: when one process fails, the others would wait for it in vain.
srun --kill-on-bad-exit=1 .venv/bin/atomas train "$EXPERIMENT" --corpus "$CORPUS" --run "$RUN" \
  --training.mesh "$MESH" --training.distributed auto --batches.workers 4
code=$?

# 143: a signal came, all processes saved after the same step and left (or SIGTERM ended them before they could: the
# last checkpoint is there). The same job goes back into the queue and resumes, on any number of machines. Anything
# else is for you to look at: 0 is done, 2 a mistake in what was asked.
if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
