#!/bin/sh
# Trains the encoders of a generator one after another: feature, in-domain, editor, difference.
#
#   checkpoints/faces/train_all.sh --data faces.zip --out runs/encoders
#   checkpoints/faces/train_all.sh --data faces.zip --out runs/encoders --generator ffhq --minutes 60
#   checkpoints/faces/train_all.sh --data faces.zip --out runs/adapted --generator runs/new --adapt checkpoints/faces
#
# The same command goes on after a stop. Every kind has its settings in KIND.json beside this file,
# a run in OUT/KIND, and at its end OUT/KIND.safetensors, as it is found beside a generator.
set -eu

usage() {
    cat <<'TEXT'
train_all.sh --data FACES --out FOLDER [options] [-- FLAGS of facsimile train]
  --data FACES       folder or zip of aligned photos to train on, without blanks in its name; may
                     come again
  --out FOLDER       for the runs and the trained encoders
  --generator NAME   a bundled name, a file or a folder (default: faces)
  --adapt FOLDER     start from the encoders in FOLDER, of a generator that was replaced, with a
                     quarter of the images; what does not fit is printed by every run
  --share N          share of the images, in percent (default: 100; with --adapt 25)
  --minutes N        stop in time, everything saved (exit status 130)
  --kinds "A B"      some of: feature in-domain editor difference
TEXT
}

here=$(cd "$(dirname "$0")" && pwd)
generator=faces out= adapt= share= minutes= data= kinds="feature in-domain editor difference"
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --) shift; break ;;
        --data | --out | --generator | --adapt | --share | --minutes | --kinds)
            [ $# -gt 1 ] || { echo "train_all.sh: $1 needs a value" >&2; exit 2; }
            case $1 in
                --data) data="$data $2" ;;
                --out) out=$2 ;;
                --generator) generator=$2 ;;
                --adapt) adapt=$2 ;;
                --share) share=$2 ;;
                --minutes) minutes=$2 ;;
                --kinds) kinds=$2 ;;
            esac
            shift 2 ;;
        *) echo "train_all.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
done
if [ -z "$data" ] || [ -z "$out" ]; then usage >&2; exit 2; fi
if [ -z "$share" ]; then
    share=100
    if [ -n "$adapt" ]; then share=25; fi
fi
facsimile=${FACSIMILE:-facsimile}
end=
if [ -n "$minutes" ]; then end=$(($(date +%s) + minutes * 60)); fi
mkdir -p "$out"

# Runs a command, and asks it to stop when the time is over; the program then saves a checkpoint.
until_the_end() {
    if [ -z "$end" ]; then "$@"; return; fi
    left=$((end - $(date +%s)))
    if [ "$left" -le 0 ]; then return 130; fi
    "$@" &
    child=$!
    # What waits must not hold the output open, or a pipe would wait for it too.
    (sleep "$left"; kill -TERM "$child") >/dev/null 2>&1 &
    clock=$!
    status=0
    wait "$child" || status=$?
    kill "$clock" 2>/dev/null || true
    return "$status"
}

images_of() {
    sed -n 's/.*"images": *\([0-9]*\).*/\1/p' "$here/$1.json"
}

for kind in $kinds; do
    if [ -f "$out/$kind.safetensors" ]; then echo "$kind: done, $out/$kind.safetensors"; continue; fi
    images=$(($(images_of "$kind") * share / 100))
    from=
    if [ -n "$adapt" ]; then from="--init-from $adapt/$kind.safetensors"; fi
    more=
    case $kind in
        editor) more="--feature $out/feature --in-domain $out/in-domain" ;;
        difference) more="--in-domain $out/in-domain --code-cache $out/codes.safetensors" ;;
    esac
    echo "== $kind: $images images =="
    status=0
    # $data, $from and $more are lists of words.
    # shellcheck disable=SC2086
    until_the_end "$facsimile" train "$kind" --config "$here/$kind.json" --generator "$generator" \
        --data $data --images "$images" $from $more --out "$out/$kind" "$@" || status=$?
    if [ "$status" -ne 0 ]; then
        echo "train_all.sh: $kind stopped with status $status; the same command goes on" >&2
        exit "$status"
    fi
    "$facsimile" convert "$out/$kind" --network encoder --half --out "$out/$kind.safetensors"
done
echo "all encoders: $out; copy them beside the generator, or name them with --encoder"
