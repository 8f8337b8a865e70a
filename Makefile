# SPDX-License-Identifier: Apache-2.0
# A short front for CMake: the program is build/zeroq, the library lies beside it.
#
#     make              build                          make demo      quantize the network in demo/
#     make check        build and test                 make bench     measure the speed
#     make check-asan   test with the sanitizers       make fuzz      feed the reader damaged models
#     make check-all    all tests, with clang too      make install   into PREFIX (default /usr/local)
#     make format       clang-format 14                make format-check
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
PREFIX ?= /usr/local
CLANG_FORMAT ?= $(firstword $(shell command -v clang-format-14 clang-format))
FUZZ_SECONDS ?= 600
DEMO_SIZE ?= w4
MAKEFLAGS += --no-print-directory

PYTHON := $(firstword $(wildcard $(CURDIR)/.venv/bin/python) python3)
SOURCES = $(shell git ls-files '*.c' '*.h')

# $(call build,FOLDER,CMAKE FLAGS)
build = cmake -S . -B $(1) -DZQ_PYTHON=$(PYTHON) $(2) $(CMAKE_FLAGS) > /dev/null && cmake --build $(1) -j $(JOBS)
# $(call test,FOLDER,LABELS LEFT OUT): "networks" are published ones, "long" those that take many minutes
test = ctest --test-dir $(1) --output-on-failure -LE '$(2)'

.PHONY: all check check-asan check-clang check-long check-all demo bench fuzz install format format-check clean

all:
	@$(call build,$(BUILD))

check: all
	@$(call test,$(BUILD),long)

check-long: all
	@$(call test,$(BUILD),none)

# The library of protobuf-c and oneDNN aren't built with the sanitizers, and OpenMP's threads live until exit.
check-asan:
	@$(call build,build-asan,-DZQ_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo)
	@$(call test,build-asan,networks|long)

check-clang:
	@if ! command -v clang > /dev/null; then echo "SKIPPED: the build with clang, which isn't installed"; exit 0; fi; \
	$(call build,build-clang,-DCMAKE_C_COMPILER=clang -DCMAKE_C_FLAGS=-Werror) && $(call test,build-clang,networks|long)

check-all: format-check check-long check-asan check-clang

DEMO = $(BUILD)/demo
demo: all
	@mkdir -p $(DEMO)
	@$(BUILD)/zeroq quantize demo/resnet20-cifar10.onnx -o $(DEMO)/resnet20-cifar10.q.onnx --size $(DEMO_SIZE) \
	    --report $(DEMO)/report.html --json $(DEMO)/report.json --png $(DEMO)/images.png
	@echo
	@echo "$(DEMO)/resnet20-cifar10.q.onnx   the quantized network, for ONNX Runtime 1.24 or newer"
	@echo "$(DEMO)/images.png                the distilled images it was calibrated with"
	@echo "$(DEMO)/report.html               everything that was measured, on a page for your browser"
	@echo "$(DEMO)/report.json               the same for programs"

# A Python that has the packages of bench/requirements.txt, to compare with PyTorch and ONNX Runtime; the networks, names
# of bench/nets.py or files; options such as --rounds 1
BENCH_PYTHON ?= $(firstword $(wildcard $(CURDIR)/.benchvenv/bin/python) $(PYTHON))
BENCH_NETS ?=
BENCH_OPTIONS ?=

# Kernels against the FMA peak, whole networks beside others, how time grows with the work, and the search's with the layers
bench: all
	$(BUILD)/bench/bench_kernels bench/shapes.txt
	$(BENCH_PYTHON) bench/speed.py $(BUILD) $(BENCH_NETS) $(BENCH_OPTIONS)
	$(BENCH_PYTHON) bench/scaling.py $(BUILD)
	$(BENCH_PYTHON) bench/search.py $(BUILD)

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

# Starts from the models of the tests when .venv is there; a finding is kept in build-fuzz.
fuzz:
	@$(call build,build-fuzz,-DCMAKE_C_COMPILER=clang -DZQ_FUZZ=ON -DZQ_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo)
	@mkdir -p build-fuzz/corpus && cp tests/cli/models/*.onnx build-fuzz/corpus
	@$(PYTHON) tests/onnx/make_models.py build-fuzz/models && cp build-fuzz/models/*/*.onnx build-fuzz/corpus || \
	    echo "SKIPPED: models of the tests as corpus; run ./setup.sh test first"
	build-fuzz/tests/fuzz_onnx -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build-fuzz/ build-fuzz/corpus

format:
	@$(CLANG_FORMAT) -i $(SOURCES)

# Other versions of clang-format disagree about details.
format-check:
	@if $(CLANG_FORMAT) --version 2> /dev/null | grep -q 'version 14\.'; then \
	    $(CLANG_FORMAT) --dry-run -Werror $(SOURCES); \
	else \
	    echo "SKIPPED: the check of the format, since clang-format 14 isn't installed"; \
	fi

clean:
	@rm -rf build build-asan build-clang build-fuzz
