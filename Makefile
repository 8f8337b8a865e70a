# SPDX-License-Identifier: Apache-2.0
# A short front for CMake: the program is build/zeroq, the library lies beside it.
#
#     make              build                          make demo      quantize the network in demo/
#     make check        build and test                 make bench     measure the kernels
#     make check-asan   test with the sanitizers       make install   into PREFIX (default /usr/local)
#     make check-all    both, with clang too           make format    clang-format 14 over all sources
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
PREFIX ?= /usr/local
CLANG_FORMAT ?= clang-format
DEMO_SIZE ?= w4

PYTHON := $(firstword $(wildcard $(CURDIR)/.venv/bin/python) python3)
SOURCES = $(shell git ls-files '*.c' '*.h')

# $(call build,FOLDER,CMAKE FLAGS)
build = cmake -S . -B $(1) -DZQ_PYTHON=$(PYTHON) $(2) $(CMAKE_FLAGS) > /dev/null && cmake --build $(1) -j $(JOBS)
test = ctest --test-dir $(1) --output-on-failure

.PHONY: all check check-asan check-clang check-all demo bench install format format-check clean

all:
	@$(call build,$(BUILD))

check: all
	@$(call test,$(BUILD))

# The library of protobuf-c and oneDNN aren't built with the sanitizers, and OpenMP's threads live until exit.
check-asan:
	@$(call build,build-asan,-DZQ_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo)
	@$(call test,build-asan)

check-clang:
	@$(call build,build-clang,-DCMAKE_C_COMPILER=clang -DCMAKE_C_FLAGS=-Werror)
	@$(call test,build-clang)

check-all: format-check check check-asan check-clang

demo: all
	$(BUILD)/zeroq quantize demo/resnet20-cifar10.onnx -o $(BUILD)/resnet20-cifar10.q.onnx --size $(DEMO_SIZE)

bench: all
	$(BUILD)/bench/bench_kernels bench/shapes.txt

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

format:
	@$(CLANG_FORMAT) -i $(SOURCES)

format-check:
	@$(CLANG_FORMAT) --dry-run -Werror $(SOURCES)

clean:
	@rm -rf build build-asan build-clang
