G=$1; export PYTHONPATH=$G/evidence:$G/site PYTHONUNBUFFERED=1 OMP_NUM_THREADS=2; mkdir -p /tmp/log
R=/tmp/sm; D="$G/data/ffhq.zip"; N=$G/nets; C="--generator $N --perceptual discriminator --eval-data $G/data/held.zip --device cuda --sample-every 100000000 --save-every 100000"
python3 $G/train.py editor $C --data $D --identity dlib --init-from $N/editor.safetensors --residual-weight .5 --images 480 --batch 48 --lr 5e-6 --eval-images 20 --out $R/e > /tmp/log/s1.log 2>&1 &
python3 $G/train.py in-domain $C --architecture resnet --data $D --real-fraction .6 --width 32 --max-width 128 --iterations 8 --adversarial-weight 0 --images 192 --batch 64 --eval-images 16 --out $R/o > /tmp/log/s2.log 2>&1 &
N=50 M=24 S=3 L=50 Q=3 O=/tmp/ev_smoke timeout 100 bash $G/evidence.sh $G > /tmp/log/s3.log 2>&1 &
wait
for f in /tmp/log/s?.log; do echo "== $f"; tr '\r' '\n' < $f | grep -v '^ *"\|^[{} ]*$\|it/s' | tail -n 25 | cut -c1-300; done
tr '\r' '\n' < /tmp/log/s3.log | grep it/s | tail -3
