#!/usr/bin/env bash
# A GPU for six minutes: build, prove, measure, distil; docs/gpu.md says what each stage measures.
#
#   experiments/benchmarks/gpu.sh OUT_DIR [--seconds=360]
#
# Needs CUDA, a C++ compiler, JAX with its CUDA plugin and what kipax needs but dm-pix; no network.
# KIPAX_PARTS (parts) is the folder of cifar10-part.npz, which experiments.part writes; PYTHON the
# interpreter. KIPAX_REHEARSE=1 runs through on CPUs with the portable kernel at reduced sizes.
. "$(dirname "${BASH_SOURCE[0]}")/gpu_common.sh"
read_arguments 360 "$@"
[ -z "$resume" ] || usage "gpu.sh begins anew; gpu_results.sh takes --resume"

# (a) what this is
build
stage versions 90 "$python" -c '
import json, jax, jaxlib, flax, numpy
from experiments.benchmarks import timing
print(json.dumps(timing.machine() | {"jaxlib": jaxlib.__version__, "numpy": numpy.__version__,
                                     "flax": flax.__version__, "platform": jax.default_backend()}))'
seen=$?
stage nvidia-smi 15 nvidia-smi
# Only where JAX has answered: a slow start is no reason to give the machine back.
if [ -z "$rehearse" ] && [ "$seen" = 0 ] && ! grep -q '"platform": "gpu"' "$out/results.jsonl"; then
  say "JAX sees no GPU here, so nothing can be measured: $out/log.txt says what it sees"
  exit 1
fi

# The host has nothing to do while the GPU is tested, and stage (f) needs a whitening.
data=npz:$parts/cifar10-part.npz
if [ -n "$rehearse" ]; then data=digits; fi
whitening=
if [ "$data" = digits ] || [ -f "${data#npz:}" ]; then
  whiten "$data" 120 &
  whitening=$!
fi

# (b) is the fused kernel right? Later stages take the portable one if not.
backend=portable
# The suite is for CPUs unless told; xdist, which its options name, may be missing.
platform=cuda test_seconds=90
if [ -n "$rehearse" ]; then platform=cpu test_seconds=100; fi
stage tests "$test_seconds" env JAX_PLATFORMS="$platform" "$python" -m pytest -v -o addopts= \
  -p no:cacheprovider -W default tests/kernels/test_cuda.py
tested=$?
if [ -n "$rehearse" ]; then
  say "rehearsal: the portable kernel serves"
elif [ "$tested" = 0 ]; then
  backend=fused
elif [ "$tested" = 124 ] && grep -q '^tests.*papers_network.* PASSED' "$out/log.txt" &&
  ! grep -q '^tests.* \(FAILED\|ERROR\)' "$out/log.txt"; then
  backend=fused
  say "the tests were not finished in their time, and none had failed"
else
  say "the fused kernel failed its tests (exit $tested): later stages take the portable one"
fi
note tests backend "$backend"
if [ -n "$whitening" ]; then wait "$whitening"; fi  # what follows is timed
kernels=("$python" -m experiments.benchmarks.kernels --reference=false)
if [ "$backend" = fused ] && command -v compute-sanitizer >/dev/null; then
  stage memcheck 30 compute-sanitizer --tool memcheck --error-exitcode 9 \
    "${kernels[@]}" --cases=convnet:32 --backends=fused --blocks=10x2 --repeats=1
  if [ "$?" = 9 ]; then
    backend=portable
    say "the fused kernel touches memory that is not its own: later stages take the portable one"
    note memcheck backend "$backend"
  fi
fi

# (c) microseconds a pair, (d) a whole step, (e) a student's step
"$python" - "$work" <<'PYTHON'
import sys
import numpy as np
rng = np.random.default_rng(0)
for name, side, n in (("noise", 32, 5100), ("small", 8, 120)):
    x, y = rng.integers(0, 256, (n, side, side, 3), np.uint8), np.arange(n) % 10
    np.savez(f"{sys.argv[1]}/{name}.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
PYTHON
step=("$python" -m experiments.benchmarks.step --preprocessing=standard)
student=("$python" -m experiments.benchmarks.students --torch)
if [ -n "$rehearse" ]; then
  stage kernels-portable 100 "${kernels[@]}" --cases=convnet1:4 --backends=portable \
    --blocks=16x4 --repeats=1
  stage step 100 "${step[@]}" --dataset="npz:$work/small.npz" --target_batch=100 --supports=10 \
    --architecture=convvec1 --backend=portable --repeats=1
  stage student 100 "${student[@]}" --width=16 --side=8 --steps=2 --repeats=1
else
  if [ "$backend" = fused ]; then
    stage kernels-fused 45 "${kernels[@]}" --cases=convnet:32 --backends=fused \
      --blocks=512x10,5000x10,1000x100,5000x100 --repeats=3
  fi
  stage kernels-portable 30 "${kernels[@]}" --cases=convnet:32 --backends=portable \
    --blocks=16x16,64x10,512x10 --repeats=3
  stage step 45 "${step[@]}" --dataset="npz:$work/noise.npz" --target_batch=5000 --supports=10,100 \
    --backend="$backend" --repeats=3
  stage student 30 "${student[@]}" --width=1024
fi

# (f) for what is left: KIP
if [ -n "$rehearse" ]; then
  distil digits-10 90 --dataset="$data" --architecture=convnet1 --steps=4 --target_batch=50
else
  distil cifar10-10 100000 --dataset="$data" --preprocessing=zca --support=10 \
    --target_batch=5000 --steps=1000 --learning_rate=0.04 --label_learning_rate=0.004 \
    --eval_every=100 --checkpoint_every=25
fi
say "all stages after $(($(date +%s) - began)) s: $(ls "$out" | tr '\n' ' ')"
exit 0
