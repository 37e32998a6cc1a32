# evidence.sh G OUT
G=$1 OUT=$2; export PYTHONPATH=$G/evidence:$G/site OMP_NUM_THREADS=1
cd $G/evidence; O=${O:-/tmp/evidence}; R=$O/rows; mkdir -p $R; PY=${PY:-python3}
F=$G/data/ffhq-256-eval.zip; J=$G/data/squeezenet1_1_imagenet.safetensors; N=${N:-50} M=${M:-24} S=${S:-1200} L=${L:-5000} Q=${Q:-500}
C="--generator $G/nets --device ${DEVICE:-cuda} --tf32 --untimed --rows-only --threads 1 --judge $J --rows $R"
spaces() { for r in "$@"; do $PY -m benchmarks.spaces $F --count $N --steps $S --batch $N $C --out $O/spaces --recipes "$r" || echo FAILED "$r"; echo "done $r $(date +%T)"; done; }
$PY -c "
from benchmarks.faces import read; from pathlib import Path
print([read(Path('$F'),128,n).fingerprint for n in (16,24,50)])"
V="$PY -m benchmarks.inversion $F --count $M --steps $L --batch $M --alone 0 $C --out $O/inversion"
($V --recipes image2stylegan; echo "done i2s $(date +%T)"
$PY -m benchmarks.one_pass $F --count $M --batch $M $C --out $O/one-pass; echo "done one-pass $(date +%T)"
$PY -m benchmarks.settling $F --count $M --batch $M $C --out $O/settling; echo "done settling $(date +%T)") &
$PY -m benchmarks.spaces $F --count $N --steps 1 --batch $N $C --out /tmp/s --recipes z
echo "statistics $(date +%T)"
spaces "f/z+ printed" "f/z+" "z" "f/z" "s" &
spaces "f/p_n+ printed" "f/p_n+" "z+" "in-domain" "f/s" &
spaces "f/w+ printed" "f/w+" "w+" "w" "p_n+" "f/z printed" &
spaces "f/z+ seeded" "f/p_n+ seeded" "f/w+ seeded" "image2stylegan" &
($V --recipes "f/z+" "f/w+" "w+" "in-domain" "f/p_n+" "f/z+ +noise" "w+ +noise" "in-domain +noise" "f/w+ +noise" "f/p_n+ +noise"; echo "done inversion $(date +%T)"
$PY -m benchmarks.noise $F --count 16 --steps $Q --batch 16 $C --out $O/noise;  echo "done noise $(date +%T)") &
wait
