# The shim: one static program, linked from embed/shim and the wire it shares with the agent, included by embed/shim_program.c.
# Always gcc, small and without sanitizers: it is a program of its own, whatever the build around it is for.
SHIM_SRC := $(sort $(wildcard embed/shim/*.c)) embed/shim_protocol.c

$(OUT)/embed/rancherd-shim: $(SHIM_SRC) embed/shim/shim.h embed/shim_protocol.h embed/shim.mk
	@mkdir -p $(@D)
	@echo "shim $@"
	@gcc -std=gnu17 -D_GNU_SOURCE -I. -Os $(WARN) -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -static \
		-Wl,--gc-sections,--build-id=none,-z,norelro -s -o $@ $(SHIM_SRC)

$(OUT)/embed/shim_program.o: $(OUT)/embed/rancherd-shim
