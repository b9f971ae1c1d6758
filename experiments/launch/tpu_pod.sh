#!/bin/bash
# One training job on all hosts of a TPU pod slice: queue it, start it, start it again when the slice was taken away.
#
#   PROJECT=mine ZONE=us-west4-a ./experiments/launch/tpu_pod.sh experiments/chebi20_base.py /mnt/share/runs/base
#
# Run it where `gcloud` is, from the project's folder. What it wants beside a quota: a file share that every host
# mounts at the same place (Filestore by NFS), for the run folder; every host writes its part of a checkpoint there.
set -euo pipefail

EXPERIMENT=$1                              # a file of experiments/, with the mesh inside or as --training.mesh below
RUN=$2                                     # the run folder, on the share
NAME=${NAME:-atomas}                       # of the slice
TYPE=${TYPE:-v5litepod-16}                 # 4 hosts of 4 chips; `atomas compile ... --topology v5e:4x4`: does it fit?
VERSION=${VERSION:-v2-alpha-tpuv5-lite}    # the hosts' image, one a generation of TPU
SHARE=${SHARE:?the NFS export, as 10.0.0.2:/share}
CORPUS=${CORPUS:-/mnt/share/corpora/chebi20}   # a prepared corpus: on the share, or a copy on every host's own disk
# 16 chips: the 16 pairs of that recipe are split 8 ways, and 2 chips share the work of each part. data x fsdp (x
# training.accumulate) must divide the experiment's batches.unit, which a run keeps from its first step.
MESH=${MESH:-data=2,fsdp=4,tensor=2}
HERE=(--project "${PROJECT:?}" --zone "${ZONE:?}")

# The same command on every host at once; its exit code is that of a host that failed, if one did.
everywhere() { gcloud compute tpus tpu-vm ssh "$NAME" "${HERE[@]}" --worker=all --command "$1"; }

# A spot slice costs a third and is taken away with half a minute's notice. The hosts' processes are sent SIGTERM then:
# the job saves at one step that all agree on. Where that was too short, it goes on from the last checkpoint.
create() {
  slice() { gcloud compute tpus tpu-vm "$1" "$NAME" "${HERE[@]}" "${@:2}"; }
  slice describe --format='value(state)' 2>/dev/null | grep -q READY && return
  slice delete --quiet 2>/dev/null                 # one that was taken away stays listed
  slice create --accelerator-type "$TYPE" --version "$VERSION" --spot &&
    everywhere "sudo mkdir -p /mnt/share && sudo mount -t nfs $SHARE /mnt/share" &&
    # the code as it is here, to every host; then an environment with jax's TPU build
    archive=$(mktemp -d)/atomas_jax.tgz && tar czf "$archive" --exclude .venv --exclude runs --exclude corpora . &&
    gcloud compute tpus tpu-vm scp "$archive" "$NAME": "${HERE[@]}" --worker=all &&
    everywhere "mkdir -p atomas && tar xzf atomas_jax.tgz -C atomas && cd atomas &&
      python3 -m venv .venv && .venv/bin/pip -q install -e . 'jax[tpu]'"
}

# distributed auto: jax reads from the slice's metadata who the hosts are. Every host runs the same line; the first one
# writes the log and shows the bar. Compiled programs are kept on the share, so that a second start is quick.
train() {
  everywhere "cd atomas && JAX_COMPILATION_CACHE_DIR=/mnt/share/compiled .venv/bin/atomas train $EXPERIMENT \
    --corpus $CORPUS --run $RUN --training.mesh $MESH --training.distributed auto --training.save-minutes 5"
}

for _ in $(seq 100); do
  create || { sleep 60; continue; }        # no capacity just now
  code=0; train || code=$?
  [ "$code" -eq 0 ] && exit 0
  [ "$code" -eq 2 ] && exit 2              # a mistake in what was asked: trying again is of no use
  echo "ended with $code: again in a minute" >&2   # 143: asked to stop, saved; 255: a host is gone; both resume alike
  sleep 60
done
exit 1
