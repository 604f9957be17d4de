#include "datastore/store.h"

void store_row_clear(struct store_row *row)
{
    bytes_unref(row->key);
    bytes_unref(row->value);
    bytes_unref(row->facts);
    *row = (struct store_row){ 0 };
}
