# Progress on a terminal is one line, rewritten in place and gone in the end; --quiet shows none
script -qec true /dev/null > log 2>&1 || { echo 'no pseudo-terminal can be had'; exit 77; }
script -qec 'zeroq quantize tiny.onnx -o out.onnx --steps 200' /dev/null > log
tr '\r' '\n' < log | grep -q '^.\[Kdistill  *\[#*\.*\] *[0-9]* %$' && echo 'progress is shown'
tr '\r' '\n' < log | sed -n '/out\.onnx$/,$p' | grep -c '%$'
script -qec 'zeroq quantize tiny.onnx -o out.onnx --quiet' /dev/null
