# Every step with layout, kernel and times. Figures vary, and kernels with the processor.
zeroq inspect tiny.onnx --plan --batch 2
zeroq inspect tiny.onnx --gradient --batch=3 --quiet --json plan.json | grep -E '^(step|conv1|sum)|^a round'
python3 - <<'END'
import json
plan = json.load(open("plan.json"))["plan"]
print(plan["images"], plan["gradient"], [round(s["flop"]) for s in plan["steps"] if s["flop"]], plan["flop"])
assert plan["rounds"] >= 3 and plan["threads"] >= 1 and plan["bytes"] > 0 and len(plan["steps"]) >= 5
assert 0 < sum(s["forward_ms"] + s["backward_ms"] for s in plan["steps"]) <= plan["ms"]
END
zeroq inspect no_bn.onnx --gradient --batch 1 | grep -c '^conv'
zeroq inspect tiny.onnx --plan --batch 0 2>&1
zeroq inspect tiny.onnx --plan --batch 5000 2>&1
zeroq quantize tiny.onnx -o out.onnx --plan 2>&1
echo "-> $?"
