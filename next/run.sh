# run.sh G OUT T: everything at once on one GPU, at most T seconds, then packed into OUT
G=$1 OUT=$2 T=$3; export R=${R:-/tmp/runs} O=${O:-/tmp/evidence}; L=/tmp/log; rm -rf $R $O $L; mkdir -p $R $L $O
export PYTHONPATH=$G/evidence:$G/site PYTHONUNBUFFERED=1 OMP_NUM_THREADS=2
PY=${PY:-python3}; EDIT=${EDIT:-32000} FIRST=${FIRST:-50400} PASSES=${PASSES:-9600} BATCH=${BATCH:-48} BIG=${BIG:-144} FEW=${FEW:-64}
D="$G/data/ffhq.zip $G/data/celeba.zip"; N=$G/nets
C="--generator $N --perceptual discriminator --eval-data $G/data/held.zip --device ${DEVICE:-cuda} --sample-every 100000000 --save-every ${SAVE:-100000}"
editor() { n=$1; shift
 $PY $G/train.py editor $C --data $D --identity dlib --init-from $N/editor.safetensors --residual-weight .5 --images $EDIT --batch $BATCH --lr 5e-4 --score-every ${SCORE:-8000} --eval-images 60 --out $R/$n "$@" > $L/$n.log 2>&1; }
old() { I="$C --architecture resnet --data $D --real-fraction .6 --width 32 --max-width 128 --latent-weight .05 --perceptual-weight 2 --score-every 100000 --eval-images 32"
 $PY $G/train.py in-domain $I --iterations 0 --init-from $G/old/in-domain.safetensors --adversarial-weight .03 --lr 4e-4 --lr-decay-images 7000 --images $FIRST --batch $BIG --out $R/old1 > $L/old1.log 2>&1
 $PY $G/merge.py $R/old1/encoder.safetensors $G/old/in-domain.safetensors $R/merged.safetensors > $L/merge.log 2>&1
 $PY $G/train.py in-domain $I --iterations 8 --freeze --init-from $R/merged.safetensors --lr 1e-3 --lr-decay-images 2500 --images $PASSES --batch $FEW --out $R/old2 > $L/old2.log 2>&1
 cd $G/evidence; $PY -m benchmarks.code_edits $G/data/ffhq-256-eval.zip --count ${EVAL:-300} --generator $N --device ${DEVICE:-cuda} --weights $G/data/squeezenet1_1_imagenet.safetensors --encoders $N/in-domain.safetensors $R/old2 $R/old1 --out $L/code-edits.json > $L/code-edits.log 2>&1; }
editor e1 --gate .39 --distance-weight 1 --photo-identity-weight .3 &
editor e2 --gate .39 --distance-weight 2 --photo-identity-weight 1 &
editor e3 --gate .5 --distance-weight 2 --photo-identity-weight .5 --adversarial-weight .05 &
[ -f $G/old/in-domain.safetensors ] && old &
bash $G/evidence.sh $G $OUT > $L/evidence.log 2>&1 &
while [ -n "$(jobs -r)" ] && [ $SECONDS -lt $T ]; do sleep 2; done
echo "$SECONDS s; running: $(jobs -r | wc -l)"; pkill -TERM -f train.py; sleep ${GRACE:-12}; pkill -f benchmarks; pkill -f evidence.sh; nvidia-smi | tail -4
for n in e1 e2 e3; do cp $R/$n/encoder.safetensors $L/$n.safetensors; done
for f in $L/*.log; do echo "== $f"; tr '\r' '\n' < $f | grep -v '^ *"\|^[{} ]*$' | tail -n ${TAIL:-6} | cut -c1-400; done
(cd $L && tar czf $OUT/log.tgz *)
cd $O/rows && tar czf $OUT/json.tgz *.json *.statistics.safetensors
$PY - $OUT <<'P'
import glob, json, os, sys, tarfile
out = sys.argv[1]; big = []; small = tarfile.open(f"{out}/small.tgz", "w:gz"); size = 0
for p in sorted(glob.glob("*.safetensors")):
    j = p.replace(".safetensors", ".json"); n = os.path.getsize(p)
    if not os.path.exists(j): continue
    r = json.load(open(j))
    if n < 4.6e6 and size + n < 15e6: small.add(p); size += n
    elif n < 14e6: big.append((r.get("steps"), p))
    print(p, n, r.get("steps"))
small.close()
left = 32e6
for s, p in sorted(big, key=lambda x: (x[0] not in (200, 500), x[1])):
    n = os.path.getsize(p)
    if n < left and len(os.listdir(out)) < 8: os.system(f"cp '{p}' {out}/$(echo '{p}' | tr '+/ ' '___')"); left -= n
P
ls -la $OUT
