# The frontier once, any point of it later, and what is no frontier of this model
zeroq pareto tiny.onnx --json f.json --csv f.csv | sed 4,6d
head -1 f.csv
zeroq quantize tiny.onnx -o a.onnx --size w4 -q
zeroq quantize tiny.onnx -o b.onnx --size w4 -q --from f.json
cmp a.onnx b.onnx && rm a.onnx b.onnx
refused() {
    zeroq "$@" 2>&1
    echo "-> $?"
}
quantize='quantize tiny.onnx -o out.onnx --size w4'
sed 's/"network":"./"network":"-/' f.json > other.json
sed 's/"saved":{"version":2/"saved":{"version":3/' f.json > new.json
sed 's/"pixels"/"pictures"/' f.json > missing.json
head -c 1000 f.json > half.json
zeroq quantize tiny.onnx -o c.onnx -q --json report.json && rm c.onnx
for file in other.json new.json missing.json half.json report.json tiny.onnx none.json; do
    refused $quantize --from $file
done
refused $quantize --from f.json --bits 4,8
refused quantize tiny.onnx -o out.onnx --from f.json --size 1KB
refused quantize tiny.onnx -o out.onnx --size 1%
refused pareto tiny.onnx --json out.json --keep cnov1=8
refused pareto tiny.onnx --json out.json --exclude conv
refused pareto tiny.onnx --json f.json --csv f.json
refused pareto tiny.onnx --csv nowhere/f.csv
refused pareto tiny.onnx --csv /dev/full
ls | grep out || echo 'no out file'
