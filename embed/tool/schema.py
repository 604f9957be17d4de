#!/usr/bin/env python3
"""Compiles embed/facts/{types,resources,columns}.jsonl into the schema blob.

    schema.py FACTS-FOLDER OUT

The form is lib/k8s/schema_blob.h: fixed little-endian records; every reference is an int32 relative to
its own address, 0 for none; strings end in NUL and exist once. Nothing to relocate, so the blob is used where it lies.
"""
import hashlib, json, struct, sys

MAGIC, VERSION = b"RDSCHEMA", 1
SHAPES = ["string", "bytes", "bool", "int32", "int64", "double", "quantity", "int-or-string", "time", "micro-time", "object",
          "list", "map", "any"]
SHAPE = {name: i for i, name in enumerate(SHAPES)}
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
PRIMITIVE = {"string": "string", "string:byte": "bytes", "boolean": "bool", "integer:int32": "int32", "integer:int64": "int64",
             "number:double": "double", "any": "any"}
SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    META + "Time": "time", META + "MicroTime": "micro-time", META + "FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    CRD + "JSON": "any", CRD + "JSONSchemaPropsOrArray": "any", CRD + "JSONSchemaPropsOrBool": "any",
    CRD + "JSONSchemaPropsOrStringArray": "any",
}
# apidiscovery's generated message names its imports by the wrong package.
ALIAS = {"io.k8s.api.core.v1.ObjectMeta": META + "ObjectMeta", "io.k8s.api.core.v1.ListMeta": META + "ListMeta",
         "io.k8s.api.core.v1.GroupVersionKind": META + "GroupVersionKind"}
# Two plain structs of three strings that no served document defines.
PLAIN = {META + "GroupVersionKind": ("group", "version", "kind"), META + "GroupVersionResource": ("group", "version", "resource")}
VERBS = {"get": 1, "list": 2, "watch": 4, "create": 8, "update": 16, "patch": 32, "delete": 64, "deletecollection": 128}
LIST_TYPE = {"atomic": 0, "set": 1, "map": 2}
PATCH = {"merge": 1, "replace": 2, "retainKeys": 4}
REQUIRED, POINTER, ALWAYS, OMIT_ZERO = 1, 2, 4, 8
ATOMIC = 1
# metadata.creationTimestamp is `omitzero`; every other plain time without a value is written as null.
OMIT_ZERO_FIELDS = {(META + "ObjectMeta", "creationTimestamp")}


class Blob:
    """Bytes with labels: place() says where a label is, ref() leaves an int32 to be filled when all is placed."""

    def __init__(self):
        self.data, self.at, self.refs, self.strings = bytearray(), {}, [], {}

    def align(self):
        self.data += b"\0" * (-len(self.data) % 4)

    def place(self, label):
        self.align()
        assert label not in self.at, label
        self.at[label] = len(self.data)

    def pack(self, fmt, *values):
        self.data += struct.pack("<" + fmt, *values)

    def ref(self, label):
        self.refs.append((len(self.data), label))
        self.data += b"\0\0\0\0"

    def text(self, s):
        """A reference to a string; None is no reference."""
        if s is None:
            self.ref(None)
        else:
            self.strings.setdefault(s, None)
            self.ref(("text", s))

    def finish(self):
        # A string that ends another lies inside it.
        placed = {}
        for s in sorted(self.strings, key=lambda s: s.encode()[::-1], reverse=True):
            raw = s.encode()
            if placed.get("last", b"").endswith(raw):
                self.at["text", s] = placed["end"] - len(raw)
                continue
            self.at["text", s] = len(self.data)
            self.data += raw + b"\0"
            placed = {"last": raw, "end": len(self.data) - 1}
        for pos, label in self.refs:
            if label is not None:
                struct.pack_into("<i", self.data, pos, self.at[label] - pos)
        struct.pack_into("<I", self.data, 12, len(self.data))
        self.data[16:24] = hashlib.sha256(self.data).digest()[:8]
        return bytes(self.data)


class Types:
    """Every type a place can have: the named ones, and what a place adds to one (list type, patch strategy, enum)."""

    def __init__(self, facts):
        self.facts = {t["name"]: t for t in facts}
        for name, members in PLAIN.items():
            proto = "k8s.io" + name[len("io.k8s"):]
            self.facts[name] = {"name": name, "proto": proto, "fields": {
                m: {"type": "string", "always": True, "proto": i + 1, "prototype": "string"} for i, m in enumerate(members)}}
        self.made = {}  # key -> record
        for name in sorted(self.facts):
            self.named(name, {})

    def make(self, **record):
        key = json.dumps(record, sort_keys=True)
        self.made.setdefault(key, record)
        return key

    def named(self, name, place):
        fact = self.facts[name]
        shape = SPECIAL.get(name, "object")
        atomic = place.get("map-type", fact.get("map-type")) == "atomic"
        return self.make(name=name, proto=fact.get("proto"), shape=shape, atomic=atomic, **self.patch(place),
                         fields=name if shape == "object" else None)

    @staticmethod
    def patch(place):
        strategy = 0
        for word in place.get("patch-strategy", "").split(","):
            strategy |= PATCH[word] if word else 0
        return {"patch": strategy, "patch_key": place.get("patch-merge-key")}

    def of(self, type_, place):
        """The key of the type at a place; `place` is the field's facts, used up by the outermost level they belong to."""
        if isinstance(type_, list):
            inner = {k: v for k, v in place.items() if k == "enum"}
            elem = self.of(type_[1], inner)
            if type_[0] == "map":
                return self.make(shape="map", elem=elem, atomic=place.get("map-type") == "atomic", **self.patch(place))
            return self.make(shape="list", elem=elem, list_type=place.get("list-type", "atomic"),
                             keys=place.get("list-map-keys", []), **self.patch(place))
        type_ = ALIAS.get(type_, type_)
        if type_ in PRIMITIVE:
            return self.make(shape=PRIMITIVE[type_], enum=place.get("enum", []))
        return self.named(type_, place)


def write_types(blob, types):
    # All places first: making a field's type may make new types.
    fields = {}
    for name, fact in types.facts.items():
        fields[name] = sorted((n, f, types.of(f["type"], f)) for n, f in fact.get("fields", {}).items())
    canonical = [types.named(name, {}) for name in sorted(types.facts)]
    extra = [k for k in types.made if k not in set(canonical)]
    blob.place("types")
    for key in canonical + extra:
        write_type(blob, types.made[key], key, len(fields.get(types.made[key].get("fields"), ())))
    for name in sorted(fields):
        blob.place(("fields", name))
        for field in fields[name]:
            write_field(blob, types, name, *field)
    write_extras(blob, [types.made[k] for k in canonical + extra], [f for name in sorted(fields) for f in fields[name]])
    return len(canonical), len(canonical) + len(extra)


def type_extra(t):
    key = (t.get("patch_key"), tuple(t.get("keys", ())), tuple(t.get("enum", ())))
    return ("type-extra", key) if any(key) else None


def field_extra(f):
    default = json.dumps(f["default"]) if "default" in f else None
    key = (default, f.get("go"), f.get("embed"), tuple(f.get("rules", ())))
    return ("field-extra", key) if any(key) else None


def proto_numbers(f):
    proto = f.get("proto", [])
    return tuple(proto) if isinstance(proto, list) else (proto,)


def write_type(blob, t, key, n_fields):
    blob.place(key)
    blob.text(t.get("name"))
    blob.text(t.get("proto"))
    blob.ref(t.get("elem"))
    blob.ref(("fields", t["fields"]) if t.get("fields") else None)
    blob.ref(type_extra(t))
    blob.pack("HBBBBH", n_fields, SHAPE[t["shape"]], LIST_TYPE[t.get("list_type", "atomic")], t.get("patch", 0),
              ATOMIC if t.get("atomic") else 0, 0)


def write_field(blob, types, owner, name, f, key):
    flags = (REQUIRED if f.get("required") else 0) | (POINTER if f.get("ptr") else 0) | (ALWAYS if f.get("always") else 0)
    flags |= OMIT_ZERO if (owner, name) in OMIT_ZERO_FIELDS else 0
    numbers = proto_numbers(f)
    blob.text(name)
    blob.ref(key)
    blob.ref(field_extra(f))
    blob.ref(("numbers", numbers) if numbers else None)
    blob.text(f.get("prototype"))
    blob.pack("BBH", flags, len(numbers), len(name.encode()))


def write_extras(blob, types, fields):
    for label in sorted({e for e in map(type_extra, types) if e}, key=repr):
        blob.place(label)
        patch_key, keys, enum = label[1]
        blob.text(patch_key)
        blob.pack("HH", len(keys), len(enum))
        for s in keys + enum:
            blob.text(s)
    for label in sorted({e for _, f, _ in fields if (e := field_extra(f))}, key=repr):
        blob.place(label)
        default, go, embed, rules = label[1]
        blob.text(default)
        blob.text(go)
        blob.text(embed)
        blob.pack("I", len(rules))
        for s in rules:
            blob.text(s)
    for numbers in sorted({proto_numbers(f) for _, f, _ in fields} - {()}):
        blob.place(("numbers", numbers))
        blob.pack(f"{len(numbers)}i", *numbers)


def write_kinds(blob, types):
    kinds = {tuple(gvk): name for name, t in types.facts.items() for gvk in t.get("gvk", [])}
    blob.place("kinds")
    for gvk in sorted(kinds):
        for part in gvk:
            blob.text(part)
        blob.ref(types.named(kinds[gvk], {}))
    return kinds


def write_resources(blob, types, kinds, resources, columns):
    by_kind = {(c["group"], c["kind"]): c for c in columns}
    blob.place("resources")
    for i, r in enumerate(resources):
        cols = by_kind.get((r["group"], r["kind"]))
        for k in ("group", "version", "resource", "kind", "singular"):
            blob.text(r[k])
        blob.text(r.get("storageVersionHash"))
        blob.ref(types.named(kinds[r["group"], r["version"], r["kind"]], {}))
        blob.ref(("strings", i))
        blob.ref(("subresources", i))
        blob.ref(("columns", cols["group"], cols["kind"]) if cols else None)
        blob.pack("HBBBBBB", sum(VERBS[v] for v in r["verbs"]), r["namespaced"], len(r.get("shortNames", [])),
                  len(r.get("categories", [])), len(r.get("subresources", [])), len(cols["columns"]) if cols else 0, 0)
    for i, r in enumerate(resources):
        blob.place(("strings", i))
        for s in r.get("shortNames", []) + r.get("categories", []):
            blob.text(s)
        blob.place(("subresources", i))
        for sub in r.get("subresources", []):
            for k in ("name", "kind", "group", "version"):
                blob.text(sub[k])
            blob.pack("I", sum(VERBS[v] for v in sub["verbs"]))


def write_columns(blob, columns):
    blob.place("tables")
    for c in columns:
        blob.text(c["group"])
        blob.text(c["kind"])
        blob.ref(("columns", c["group"], c["kind"]))
        blob.pack("I", len(c["columns"]))
    for c in columns:
        blob.place(("columns", c["group"], c["kind"]))
        for col in c["columns"]:
            for k in ("name", "type", "format"):
                blob.text(col.get(k, ""))
            blob.pack("i", col.get("priority", 0))


def read(folder, name):
    with open(f"{folder}/{name}.jsonl") as f:
        return [json.loads(line) for line in f]


def main():
    folder, out = sys.argv[1:]
    blob, types = Blob(), Types(read(folder, "types"))
    resources, columns = read(folder, "resources"), read(folder, "columns")
    blob.data += MAGIC
    blob.pack("IIII", VERSION, 0, 0, 0)  # size and hash come at the end
    for table in ("types", "kinds", "resources", "tables"):
        blob.ref(table)
    counts = len(blob.data)
    blob.pack("5I", 0, 0, 0, 0, 0)
    named, total = write_types(blob, types)
    kinds = write_kinds(blob, types)
    write_resources(blob, types, kinds, resources, columns)
    write_columns(blob, columns)
    struct.pack_into("<5I", blob.data, counts, named, total, len(kinds), len(resources), len(columns))
    with open(out, "wb") as f:
        f.write(blob.finish())


main()
