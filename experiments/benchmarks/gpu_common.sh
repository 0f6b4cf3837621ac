# Sourced by gpu.sh and gpu_results.sh: arguments, the clock, stages, and KIP runs that are packed.
#
# A stage is time-boxed and recorded by experiments/benchmarks/stage.py; one that fails never stops
# the next. OUT_DIR gets results.jsonl, log.txt and a file of at most some MB for each run; all else
# (runs with their whitenings, what is compiled) lies in a folder that is deleted at the end.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() { printf '%s\n' "$1" >&2; exit 2; }

# read_arguments DEFAULT_SECONDS ARGUMENT...: sets out, seconds, resume and the clock.
read_arguments() {
  local name=$(basename "$0") default=$1; shift
  local how="usage: $name OUT_DIR [--seconds=$default] [--resume]"
  out=; seconds=$default; resume=
  for word in "$@"; do
    case $word in
      --seconds=*) seconds=${word#*=} ;;
      --resume) resume=yes ;;
      -*) usage "$how; got $word" ;;
      *) [ -z "$out" ] || usage "$how; got $word after $out"; out=$word ;;
    esac
  done
  [ -n "$out" ] || usage "$how"
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || usage "--seconds is a whole number; got $seconds"
  mkdir -p "$out" && out=$(cd "$out" && pwd) || usage "could not make $out"
  if [ -z "$resume" ] && { compgen -G "$out/*.tar" >/dev/null || [ -e "$out/results.jsonl" ]; }; then
    usage "$out holds what an earlier call left: continue with gpu_results.sh --resume, or choose another OUT_DIR"
  fi
  began=$(date +%s)
  export KIPAX_END=$((began + seconds))
  python=${PYTHON:-python3}
  parts=${KIPAX_PARTS:-parts}
  rehearse=${KIPAX_REHEARSE:-}
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export KIPAX_CACHE="${KIPAX_CACHE:-$work/cache}" JAX_COMPILATION_CACHE_DIR="$work/compiled"
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.5 PYTHONUNBUFFERED=1
  # Several processes in turn: none takes more of the device's memory than it needs.
  export XLA_PYTHON_CLIENT_PREALLOCATE=false
  # Empty and set, so that the suite's own setting, for CPUs, does not slow a GPU's compiler; a
  # rehearsal compiles more than it computes.
  export XLA_FLAGS="${XLA_FLAGS:-}"
  if [ -n "$rehearse" ]; then
    export JAX_PLATFORMS=cpu XLA_FLAGS="$XLA_FLAGS --xla_backend_optimization_level=0"
    XLA_FLAGS=${XLA_FLAGS# }  # a leading space would make it the name of a file
  fi
}

left() { echo $((KIPAX_END - $(date +%s))); }

say() { printf '%s\n' "$1" | tee -a "$out/log.txt"; }

# note NAME KEY VALUE: a result that no stage prints.
note() { printf '{"stage": "%s", "%s": "%s"}\n' "$1" "$2" "$3" >>"$out/results.jsonl"; }

# stage NAME SECONDS COMMAND...: its exit status is the command's.
stage() { "$python" -m experiments.benchmarks.stage "$out" "$@"; }

# Builds the extension against the installed jaxlib, without network or build isolation.
build() {
  if "$python" -c 'import sys; from kipax.kernels.fused import loading; sys.exit(loading.isa() is None)'; then
    say "the extension is built"
  else
    stage build 90 "$python" setup.py -q build_ext --inplace --build-temp="$work/build"
  fi
}

# whiten DATASET SECONDS: fits its whitening into the cache, on the host.
whiten() {
  stage whitening "$2" env JAX_PLATFORMS=cpu "$python" -c '
import sys
from kipax import load_dataset
from kipax.data import fit_preprocessor
data = load_dataset(sys.argv[1])
fit_preprocessor("zca", data, zca_lambda=0.1)
print("the whitening is in the cache of", data)' "$1"
}

# Packing takes a few seconds, and a step that is under way some more.
reserve=20

# distil NAME SECONDS FLAG...: a KIP run that stops by itself and is packed, whatever became of it.
# With --resume it continues what OUT_DIR/NAME.tar holds. Where data or time lack, it says so.
distil() {
  local name=$1 most=$2 folder="$work/runs/$1" data=; shift 2
  for flag in "$@"; do case $flag in --dataset=npz:*) data=${flag#*npz:} ;; esac; done
  if [ -n "$data" ] && [ ! -f "$data" ]; then
    say "$name: there is no $data; python -m experiments.part makes it, KIPAX_PARTS=FOLDER says where it lies"
    note "$name" skipped "no data"
    return
  fi
  if grep -qs "\"stage\": \"$name\", \"result\": {\"test_accuracy\"" "$out/results.jsonl"; then
    say "$name: finished by an earlier call"
    return
  fi
  if [ -f "$out/$name.tar" ]; then
    mkdir -p "$folder" && tar -xf "$out/$name.tar" -C "$folder" && rm -f "$folder/support.npz"
  fi
  local limit=$(($(left) - reserve))
  [ "$limit" -le "$most" ] || limit=$most
  if [ "$limit" -lt 5 ]; then say "$name: no time is left"; note "$name" skipped "no time"; return; fi
  stage "$name" $((limit + reserve / 2)) "$python" -m experiments.kip "$@" --workdir="$folder" \
    --resume --max_seconds="$limit" --backend="$backend"
  "$python" -m experiments.benchmarks.pack "$folder" "$out/$name.tar" 2>&1 | tee -a "$out/log.txt"
}
