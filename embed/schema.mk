# The schema blob: type facts compiled at build time into what embed/schema.c includes.
$(OUT)/embed/schema.bin: embed/tool/schema.py $(wildcard embed/facts/*.jsonl)
	@mkdir -p $(@D)
	@echo "schema $@"
	@python3 embed/tool/schema.py embed/facts $@

$(OUT)/embed/schema.o: $(OUT)/embed/schema.bin embed/facts/rbac.jsonl embed/facts/bootstrap.jsonl
