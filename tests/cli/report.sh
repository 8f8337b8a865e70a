# A page that holds its own command; a page that can't be written is refused before the work, and leaves nothing
zeroq quantize tiny.onnx -o 'a b.onnx' --report page.html --quiet
grep -c '<section' page.html
grep -A1 '^<pre>' page.html
zeroq quantize tiny.onnx -o out.onnx --report no_such_folder/page.html --quiet 2>&1
echo "-> $?"
zeroq quantize tiny.onnx -o out.onnx --report out.onnx 2>&1
echo "-> $?"
ls | grep -E 'out|html'
