#include "agent/network/network_int.h"

void network_services_clear(struct network *n)
{
    map_free(n->services);
    n->services = NULL;
}
