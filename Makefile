# SPDX-License-Identifier: MIT
#
# make               build/stint, build/libstint.{a,so}, build/libstint-ares.{a,so}, build/examples/*
# make deps          install what is needed, from Debian by name
# make demo          three real recordings, ending in a report
# make check         layout, both compilers, every test; those that can run again under ASan and UBSan, TSan, or valgrind
# make check-kernels the tests under eBPF on Debian's 6.1 and 6.12 kernels, in emulated machines
# make recall        a thousand stalls at random: each found, none invented, causes right (check does 200)
# make check FILTER=loop   only the test programs whose path has "loop" in it
# make check-valgrind all tests of loop/ under valgrind: errors and leaks fail them (some minutes; check does a few)
# make install       PREFIX=/usr/local DESTDIR=
# make bench         the same workloads on raw epoll, stint, libev, libuv and libevent: ten minutes (QUICK=1: one or two)
# make bench-probes  what it costs a server to be watched, and everybody else: seven minutes (QUICK=1: two rounds)
# make bench-faults  what it costs that page faults are timed: a minute and a half
# make V=1 ...       show the commands
# make CARES=0 ...   without libstint-ares, the resolver by c-ares (by itself where c-ares is not installed)
# make SAN=address,undefined BUILD=build/asan   a sanitized build beside the plain one

BUILD  ?= build
CLANG  ?= clang
OBJCOPY ?= objcopy
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
PREFIX ?= /usr/local

# The same is in loop/include/stint/version.h, as a test sees to.
VERSION := 0.1.0
SOVERSION := 0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n' '$(1)' '$(2)'
endif

WARNINGS := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla
CFLAGS ?= -O2 -g
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
ALL_CFLAGS := -std=gnu11 $(WARNINGS) $(CFLAGS) $(SAN_FLAGS) -D_GNU_SOURCE -fPIC -fvisibility=hidden -MMD -MP

# Whoever links libstint needs nothing but libc; what needs c-ares is a library of its own.
ifndef CARES
CARES := $(shell $(CC) -E -include ares.h -x c /dev/null >/dev/null 2>&1 && echo 1 || echo 0)
endif

LOOP_SRC     := $(wildcard loop/*.c)
BPF_SRC      := $(wildcard probes/bpf/*.bpf.c)
PROBES_SRC   := $(wildcard probes/*.c)
REPORT_SRC   := $(wildcard report/*.c report/*/*.c)
REPORT_MAIN  := report/main.c
EXAMPLES     := $(patsubst examples/%.c,$(BUILD)/examples/%,$(wildcard examples/*.c))
TEST_SRC     := $(filter-out $(if $(filter 0,$(CARES)),tests/ares/%),$(wildcard tests/*/*_test.c))
TESTS        := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_SRC))
TEST_HELPERS := $(wildcard tests/helpers/*.c)
TEST_HEADERS := $(wildcard tests/helpers/*.h)
# Programs that tests start and watch.
SUBJECTS     := $(patsubst tests/subjects/%.c,$(BUILD)/tests/subjects/%,$(wildcard tests/subjects/*.c))

SOURCES := $(wildcard loop/*.[ch] loop/ares/*.[ch] loop/include/stint/*.h probes/*.[ch] probes/*/*.[ch] report/*.[ch] report/*/*.[ch] \
	examples/*.c tests/*/*.[ch])

object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LOOP_OBJ     := $(call object,$(LOOP_SRC))
PROBES_OBJ   := $(call object,$(PROBES_SRC))
REPORT_OBJ   := $(call object,$(filter-out $(REPORT_MAIN),$(REPORT_SRC)))
SKELETONS    := $(patsubst %.bpf.c,$(BUILD)/gen/%.skel.h,$(BPF_SRC))

LOOP_LIBS    := -pthread
PROBES_LIBS  := -lbpf -lelf -ldw -lz -lstdc++
REPORT_LIBS  := -lsqlite3 -lm

.PHONY: all deps demo tests check check-format check-kernels check-valgrind recall bench bench-probes bench-faults install clean
.DELETE_ON_ERROR:
.SECONDARY:

ARES_LIBS := $(if $(filter 0,$(CARES)),,$(BUILD)/libstint-ares.a $(BUILD)/libstint-ares.so)

all: $(BUILD)/stint $(BUILD)/libstint.a $(BUILD)/libstint.so $(ARES_LIBS) $(EXAMPLES)

# One object, in which what is not public is local: names such as clock_init are a program's own to use. What sys/sdt.h
# defines in every object that has probes stays as it is, as the linker has to keep one of them.
$(BUILD)/libstint.a: $(LOOP_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(LD) -r -o $(BUILD)/obj/libstint.o $^ && \
		$(OBJCOPY) -w --keep-global-symbol='stint_*' --keep-global-symbol='_.stapsdt.base' $(BUILD)/obj/libstint.o && \
		$(AR) rcs $@ $(BUILD)/obj/libstint.o

$(BUILD)/libstint.so.$(VERSION): $(LOOP_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(SAN_FLAGS) -Wl,-soname,libstint.so.$(SOVERSION) $(if $(SAN),,-Wl,-z,defs) -o $@ $^ $(LOOP_LIBS)

$(BUILD)/libstint.so: $(BUILD)/libstint.so.$(VERSION)
	$(Q)ln -sf libstint.so.$(VERSION) $(BUILD)/libstint.so.$(SOVERSION) && ln -sf libstint.so.$(SOVERSION) $@

$(BUILD)/libstint-ares.a: $(BUILD)/obj/loop/ares/resolver.o
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libstint-ares.so.$(VERSION): $(BUILD)/obj/loop/ares/resolver.o $(BUILD)/libstint.so
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(SAN_FLAGS) -Wl,-soname,libstint-ares.so.$(SOVERSION) $(if $(SAN),,-Wl,-z,defs) -o $@ $^ -lcares

$(BUILD)/libstint-ares.so: $(BUILD)/libstint-ares.so.$(VERSION)
	$(Q)ln -sf libstint-ares.so.$(VERSION) $(BUILD)/libstint-ares.so.$(SOVERSION)
	$(Q)ln -sf libstint-ares.so.$(SOVERSION) $@

$(BUILD)/libprobes.a: $(PROBES_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libreport.a: $(REPORT_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/stint: $(call object,$(REPORT_MAIN)) $(BUILD)/libreport.a $(BUILD)/libprobes.a $(BUILD)/libstint.a
	$(call say,LD,$@)
	$(Q)$(CC) $(SAN_FLAGS) -o $@ $^ $(PROBES_LIBS) $(REPORT_LIBS) $(LOOP_LIBS)

$(BUILD)/obj/loop/%.o: loop/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -Iloop/include -c -o $@ $<

$(BUILD)/obj/probes/%.o: probes/%.c $(SKELETONS)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -I. -I$(BUILD)/gen -c -o $@ $<

$(BUILD)/obj/report/%.o: report/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -I. -Iloop/include -c -o $@ $<

# Taken in by the assembler, which tells make nothing of it.
$(BUILD)/obj/report/record/schema.o: report/record/schema.sql
$(BUILD)/obj/report/show/css.o: report/show/report.css

# -mcpu=v3 is what Linux 5.15 runs; debug information is needed for CO-RE and stripped to BTF.
$(BUILD)/gen/%.bpf.o: %.bpf.c $(wildcard probes/*records.h probes/bpf/*.h tests/kernels/oracle.h)
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D) && $(CLANG) -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 \
		-I. -c -o $@ $<

$(BUILD)/gen/%.skel.h: $(BUILD)/gen/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(notdir $*)_skeleton > $@

# The loops of others, which some examples put the meter on.
EXAMPLE_LIBS_meter_libuv := -luv
EXAMPLE_LIBS_meter_libev := -lev
EXAMPLE_LIBS_meter_libevent := -levent_core

$(BUILD)/examples/%: examples/%.c $(BUILD)/libstint.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -Iloop/include -o $@ $< $(BUILD)/libstint.a $(EXAMPLE_LIBS_$*) $(LOOP_LIBS)

$(BUILD)/tests/subjects/%: tests/subjects/%.c $(BUILD)/libstint.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -Iloop/include -o $@ $< $(BUILD)/libstint.a $(LOOP_LIBS)

TEST_CFLAGS = $(ALL_CFLAGS) -DBUILD_DIRECTORY='"$(BUILD)"' -I. -Itests/helpers -Iloop/include -isystem $(BUILD)/gen

$(BUILD)/obj/tests/helpers/%.o: tests/helpers/%.c $(SKELETONS)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_CFLAGS) -c -o $@ $<

$(BUILD)/libhelpers.a: $(call object,$(TEST_HELPERS))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/%_test: tests/%_test.c $(TEST_HEADERS) $(BUILD)/libhelpers.a $(BUILD)/libreport.a $(BUILD)/libprobes.a $(BUILD)/libstint.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_CFLAGS) -o $@ $< \
		$(TEST_LIBS) $(BUILD)/libhelpers.a $(BUILD)/libreport.a $(BUILD)/libprobes.a $(BUILD)/libstint.a -lcmocka $(PROBES_LIBS) $(REPORT_LIBS) $(LOOP_LIBS)

# Calls that fail on demand: see tests/helpers/faults_fixture.h.
comma := ,
FAULTS := malloc calloc realloc reallocarray aligned_alloc free asprintf strdup strndup socket accept4 epoll_create1 eventfd open openat \
	syscall epoll_ctl pthread_create
FAIL_ON_DEMAND := $(addprefix -Wl$(comma)--wrap=,$(FAULTS))
$(addprefix $(BUILD)/tests/,loop/faults_test report/memory_test): TEST_LIBS = $(FAIL_ON_DEMAND)

# Of functions that the library keeps to itself.
$(BUILD)/tests/loop/address_order_test: TEST_LIBS = $(BUILD)/obj/loop/address_order.o
$(BUILD)/tests/loop/address_order_test: $(BUILD)/obj/loop/address_order.o
$(BUILD)/tests/loop/timer_wheel_test: TEST_LIBS = $(BUILD)/obj/loop/timer_wheel.o $(FAIL_ON_DEMAND)
$(BUILD)/tests/loop/timer_wheel_test: $(BUILD)/obj/loop/timer_wheel.o

$(BUILD)/tests/ares/%_test: TEST_LIBS = $(BUILD)/libstint-ares.a -lcares
$(filter $(BUILD)/tests/ares/%,$(TESTS)): $(BUILD)/libstint-ares.a

tests: all $(TESTS) $(SUBJECTS)

# Other kernels than this machine's, emulated. The programs that the tests start are carried along.
KERNELS      := linux-image-cloud-amd64 linux-image-6.12-cloud-amd64
# Not those that count milliseconds: an emulated CPU does not keep to them.
KERNEL_TESTS := $(filter $(BUILD)/tests/kernels/% $(addprefix $(BUILD)/tests/,oracles/loss_test probes/convert_test probes/left_ready_test probes/names_test probes/proc_test probes/unwind_test probes/uring_test probes/trace_socket_test probes/unix_stalls_test),$(TESTS))
KERNEL_FILES := $(SUBJECTS) $(BUILD)/examples/write_buffer $(wildcard $(addprefix /usr/bin/,redis-server redis-cli redis-benchmark tcpdump) /usr/sbin/tc /usr/sbin/ip)

$(filter $(BUILD)/tests/kernels/%,$(TESTS)): $(BUILD)/gen/tests/kernels/oracle.skel.h

check-kernels: $(KERNEL_TESTS) $(SUBJECTS) $(BUILD)/examples/write_buffer
	$(Q)tests/kernels/check $(BUILD) $(KERNELS) -- $(KERNEL_FILES) -- $(KERNEL_TESTS)

# A thousand stalls at random, each compared with the truth; `check` does 200 of them.
recall: tests
	$(Q)STINT_RECALL=1000 tests/run $(BUILD)/tests/oracles/recall_test

check-format:
	$(call say,FORMAT,loop probes report tests examples)
	$(Q)clang-format --dry-run -Werror $(SOURCES)

# The tests under eBPF watch the plain build: sanitizers would change what they measure. Those of hostile input are for them.
SANITIZED_TESTS = $(patsubst $(BUILD)/%,build/asan/%,$(filter $(addprefix $(BUILD)/tests/,loop/% report/% hostile/%),$(TESTS)))

# Data races, in those that are about threads.
THREAD_TESTS = $(patsubst $(BUILD)/%,build/tsan/%,$(filter $(addprefix $(BUILD)/tests/loop/,threads_test pool_test file_test random_test connect_name_test),$(TESTS)))

# Only the processes of the tests themselves: what a forked child leaves unfreed when it ends by _exit() is no leak.
VALGRIND := valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect \
	--child-silent-after-fork=yes --fair-sched=try

VALGRIND_ALL = $(patsubst $(BUILD)/tests/loop/%,$(BUILD)/valgrind/loop/%,$(filter $(BUILD)/tests/loop/%,$(TESTS)))
# Those that take some seconds there.
VALGRIND_SHORT = $(addprefix $(BUILD)/valgrind/loop/,fork_test lifetime_test loop_test posts_test stream_limits_test timers_test)

# Goals named on one line come one after the other; what each builds need not.
PARALLEL = $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(shell nproc))
SUBMAKE  = $(MAKE) --no-print-directory

check: check-format
	$(Q)$(SUBMAKE) $(PARALLEL) CC=clang BUILD=build/clang all
	$(Q)$(SUBMAKE) $(PARALLEL) SAN=address,undefined BUILD=build/asan tests
	$(Q)$(SUBMAKE) $(PARALLEL) SAN=thread BUILD=build/tsan $(THREAD_TESTS)
	$(Q)$(SUBMAKE) $(PARALLEL) tests $(VALGRIND_SHORT)
	$(Q)$(SUBMAKE) check-kernels
	$(Q)tests/run $(filter-out $(BUILD)/tests/kernels/% $(BUILD)/tests/hostile/%,$(TESTS)) $(SANITIZED_TESTS) $(THREAD_TESTS) \
		$(VALGRIND_SHORT)

$(BUILD)/valgrind/loop/%: $(BUILD)/tests/loop/%
	$(Q)mkdir -p $(@D) && printf '#!/bin/sh\nexec $(VALGRIND) $<\n' > $@ && chmod +x $@

check-valgrind: $(VALGRIND_ALL)
	$(Q)TEST_TIMEOUT_S=900 tests/run $^

demo:
	$(Q)$(SUBMAKE) $(PARALLEL) all
	$(Q)examples/demo $(BUILD)

# Everything comes from Debian by name. What only the demo, the tests or bench-probes need is said apart.
DEPS_BUILD := gcc g++ libc6-dev clang bpftool libbpf-dev libelf-dev libdw-dev zlib1g-dev libsqlite3-dev libc-ares-dev gnuplot-nox \
	systemtap-sdt-dev libuv1-dev libev-dev libevent-dev
DEPS_DEMO  := redis-server redis-tools wrk sqlite3 procps
DEPS_BENCH := strace linux-perf bpftrace
DEPS_SERVERS := nodejs python3 nginx libnginx-mod-http-perl haproxy memcached
DEPS_CHECK := libcmocka-dev valgrind clang-format libclang-rt-14-dev pkg-config jq tcpdump iproute2 $(DEPS_SERVERS) $(shell cat tests/kernels/packages)
AS_ROOT    := $(if $(filter 0,$(shell id -u)),,sudo)

# A machine that has just come up may be installing its updates, and a mirror may fail once.
APT_PATIENCE := -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3

deps:
	$(Q)$(AS_ROOT) apt-get update -q
	$(Q)$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get $(APT_PATIENCE) install -q -y --no-install-recommends \
		$(DEPS_BUILD) $(DEPS_DEMO) $(DEPS_CHECK) $(DEPS_BENCH)

# The same workloads on raw epoll, stint, libev, libuv and libevent. QUICK=1: a check that all of it runs.
BENCH_COMMON := tests/bench/main.c tests/bench/client.c
BENCH_HEADERS := $(wildcard tests/bench/*.h)
BENCHES := $(addprefix $(BUILD)/bench/bench-,raw stint libev libuv libevent)
BENCH_LIBS_libev := -lev
BENCH_LIBS_libuv := -luv
BENCH_LIBS_libevent := -levent_core -levent_pthreads
BENCH_LIBS_stint := $(BUILD)/libstint.a

$(BUILD)/bench/bench-%: tests/bench/backend_%.c $(BENCH_COMMON) $(BENCH_HEADERS) $(BUILD)/libstint.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -Iloop/include -o $@ $< $(BENCH_COMMON) \
		$(BENCH_LIBS_$*) $(LOOP_LIBS)

# What offloading costs beside libuv's pool, and what a slice costs that asks whether it is over.
$(BUILD)/bench/work: tests/bench/work.c $(BUILD)/libstint.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -Iloop/include -o $@ $< $(BUILD)/libstint.a -luv $(LOOP_LIBS)

bench: $(BENCHES) $(BUILD)/bench/work
	$(Q)tests/bench/run $(BUILD)/bench $(if $(QUICK),quick)
	$(Q)$(BUILD)/bench/work

# What it costs to be watched. QUICK=1: two rounds.
PROBES_BENCH := $(addprefix $(BUILD)/bench/,faults floor syscall)

$(PROBES_BENCH): $(BUILD)/bench/%: tests/bench/%.c $(BUILD)/gen/tests/bench/floor.skel.h
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -I. -I$(BUILD)/gen -o $@ $< $(PROBES_LIBS)

bench-probes: all $(PROBES_BENCH)
	$(Q)tests/bench/probes $(BUILD) $(if $(QUICK),quick)

bench-faults: all $(BUILD)/bench/faults
	$(Q)tests/bench/timed_faults $(BUILD)

INSTALL ?= install
PLACE = $(DESTDIR)$(PREFIX)

install: all
	$(call say,INSTALL,$(PLACE))
	$(Q)$(INSTALL) -d $(PLACE)/bin $(PLACE)/lib/pkgconfig $(PLACE)/include/stint $(PLACE)/share/man/man1
	$(Q)$(INSTALL) -m 755 $(BUILD)/stint $(PLACE)/bin/
	$(Q)$(INSTALL) -m 644 $(BUILD)/libstint.a $(PLACE)/lib/
	$(Q)$(INSTALL) -m 755 $(BUILD)/libstint.so.$(VERSION) $(PLACE)/lib/
	$(Q)ln -sf libstint.so.$(VERSION) $(PLACE)/lib/libstint.so.$(SOVERSION)
	$(Q)ln -sf libstint.so.$(SOVERSION) $(PLACE)/lib/libstint.so
	$(Q)$(INSTALL) -m 644 $(filter-out $(if $(ARES_LIBS),,%/ares.h),$(wildcard loop/include/stint/*.h)) $(PLACE)/include/stint/
	$(Q)$(INSTALL) -m 644 report/stint.1 $(PLACE)/share/man/man1/
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' loop/libstint.pc.in > $(PLACE)/lib/pkgconfig/libstint.pc
ifneq ($(ARES_LIBS),)
	$(Q)$(INSTALL) -m 644 $(BUILD)/libstint-ares.a $(PLACE)/lib/
	$(Q)$(INSTALL) -m 755 $(BUILD)/libstint-ares.so.$(VERSION) $(PLACE)/lib/
	$(Q)ln -sf libstint-ares.so.$(VERSION) $(PLACE)/lib/libstint-ares.so.$(SOVERSION)
	$(Q)ln -sf libstint-ares.so.$(SOVERSION) $(PLACE)/lib/libstint-ares.so
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' loop/libstint-ares.pc.in > $(PLACE)/lib/pkgconfig/libstint-ares.pc
endif

clean:
	rm -rf build

-include $(shell find $(BUILD) -path '*/kernels/linux-*' -prune -o -name '*.d' -type f -print 2>/dev/null)
