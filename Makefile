# make            the program                      make CC=clang
# make test       build and run the unit tests     make test SAN=address,undefined ONLY=route
# make run        start the server just built and show its node    make run ARGS=--debug
# make e2e        API and end-to-end tests (root; scripts/test installs what they need)    make e2e ONLY=watch
# make fuzz       build every tests/fuzz/fuzz_*.c (needs clang)
# make bench      our figures, beside the reference's where Go is there
# make lint       size budgets, layers, banned calls
# Compiler, mode and sanitizer each choose the build directory, so objects of
# different kinds never mix. Other flags go in CFLAGS, after `make clean`.

VERSION := v1.37.2+rancherd1
COMMIT  := $(shell git rev-parse --short=8 HEAD 2>/dev/null || echo unknown)
PROG    := rancherd
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
SAN     ?=
MODE    ?= $(if $(SAN),debug,release)
comma   := ,
OUT     := build/$(notdir $(CC))-$(MODE)$(if $(SAN),-$(subst $(comma),+,$(SAN)))

WARN    := -Wall -Wextra -Wshadow -Wvla -Wundef -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
           -Wconversion -Wno-sign-conversion -Wwrite-strings -Wimplicit-fallthrough -Werror
HARDEN  := $(if $(filter debug,$(MODE)),-O1,-O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
SANFLAG := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
DEFS     = -D_GNU_SOURCE -DRANCHERD_VERSION='"$(VERSION)"' -DRANCHERD_COMMIT='"$(COMMIT)"'
COMPILE  = $(CC) -std=gnu17 $(DEFS) -I. -I$(OUT) -g -fno-omit-frame-pointer -fno-common -ffunction-sections -fdata-sections \
           $(WARN) $(HARDEN) $(SANFLAG) $(CFLAGS)
LINK     = $(CC) $(SANFLAG) -Wl,--gc-sections $(LDFLAGS)

# Static where Debian has the archive. libuv's is libuv_a.a.
LIBS    := -Wl,-Bstatic -lsqlite3 -luv_a -lmbedtls -lmbedx509 -lmbedcrypto -ljansson -lnghttp2 -lyaml -larchive -lzstd -lz \
           -lpcre2-8 -Wl,-Bdynamic -lpthread -ldl -lm

SRC     := $(sort $(shell find lib datastore server agent embed -name "*.c" -not -path "embed/tool/*" -not -path "embed/shim/*"))
CMD     := $(sort $(wildcard cmd/*.c))
TEST    := $(sort $(wildcard tests/unit/*.c))
FUZZ    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
OBJ     := $(SRC:%.c=$(OUT)/%.o)
CMDOBJ  := $(CMD:%.c=$(OUT)/%.o)
TESTOBJ := $(TEST:%.c=$(OUT)/%.o)

.PHONY: all run test unit-program e2e bench fuzz fuzz-programs lint clean
.DELETE_ON_ERROR:
.SECONDARY:

all: $(OUT)/$(PROG)

# Rules for generated parts (the schema blob, the shim) live beside their sources.
-include embed/*.mk

$(OUT)/$(PROG): $(CMDOBJ) $(OBJ)
	@echo "link $@"
	@$(LINK) -o $@ $^ $(LIBS)

run: all
	@scripts/start.sh $(OUT)/$(PROG) $(ARGS)

test: unit-program
	$(OUT)/tests/unit/run $(ONLY)
unit-program: $(OUT)/tests/unit/run
e2e: all
	RANCHERD_OUT=$(OUT) $(firstword $(wildcard build/venv/bin/python) python3) -m tests.run api e2e --only "$(ONLY)"
$(OUT)/tests/unit/run: $(TESTOBJ) $(OBJ) $(filter-out %/cmd/main.o,$(CMDOBJ))
	@echo "link $@"
	@$(LINK) -o $@ $^ $(LIBS)

# -MMD notes the headers an object used; -MP keeps a deleted header harmless.
$(OUT)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(COMPILE) -MMD -MP -c -o $@ $<

fuzz:
	$(MAKE) CC=clang SAN=fuzzer-no-link,address,undefined fuzz-programs
fuzz-programs: $(FUZZ:tests/fuzz/%.c=$(OUT)/%)
$(OUT)/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(OBJ)
	$(LINK) -fsanitize=fuzzer -o $@ $^ $(LIBS)

bench: $(OUT)/$(PROG)
	python3 tests/bench/bench.py $< $(BENCH)

lint:
	python3 scripts/measure.py --budget lib datastore server agent cmd
	python3 scripts/layers.py
	! grep -rnE '\b(strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|localtime|gmtime)\(' lib datastore server agent cmd --include='*.[ch]'

clean:
	rm -rf build

-include $(patsubst %.c,$(OUT)/%.d,$(SRC) $(TEST) $(FUZZ) $(CMD))
