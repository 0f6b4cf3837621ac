#!/usr/bin/env bash
# A GPU for four minutes, results alone: docs/gpu.md.
#
#   experiments/benchmarks/gpu_results.sh OUT_DIR [--seconds=240] [--resume]
#
# CIFAR-10 with 10 images to 1,000 steps of 5,000 targets, then MNIST, Fashion-MNIST and CIFAR-10
# with 100 images for what is left. --resume continues the runs whose NAME.tar lie in OUT_DIR, those
# of gpu.sh too. KIPAX_BACKEND (fused) is what gpu.sh found: portable where the fused kernel failed.
# KIPAX_PARTS, PYTHON and KIPAX_REHEARSE as for gpu.sh.
. "$(dirname "${BASH_SOURCE[0]}")/gpu_common.sh"
read_arguments 240 "$@"
backend=${KIPAX_BACKEND:-fused}
if [ -n "$rehearse" ]; then
  backend=portable
  build
  for seed in 0 1; do
    distil "digits-10-seed-$seed" 60 --dataset=digits --architecture=convnet1 --steps=4 \
      --target_batch=50 --seed=$seed
  done
else
  build
  common=(--target_batch=5000 --steps=1000 --eval_every=100 --checkpoint_every=25)
  cifar10=(--dataset="npz:$parts/cifar10-part.npz" --preprocessing=zca "${common[@]}" --learning_rate=0.04
    --label_learning_rate=0.004)
  grey=("${common[@]}" --learning_rate=0.01 --label_learning_rate=0.001 --support=10)
  distil cifar10-10 100000 --support=10 "${cifar10[@]}"
  distil mnist-10 100000 --dataset="npz:$parts/mnist-part.npz" "${grey[@]}"
  distil fashion_mnist-10 100000 --dataset="npz:$parts/fashion_mnist-part.npz" "${grey[@]}"
  distil cifar10-100 100000 --support=100 "${cifar10[@]}"
fi
say "all runs after $(($(date +%s) - began)) s: $(ls "$out" | tr '\n' ' ')"
exit 0
