"""rows.py DIR PORTS KEYSTONE NEUTRON NOVA: a copied template becomes this cloud (standard library only, before anything runs).

The catalog and Nova's cells are made to say where this cloud is. Then the one server that the services made themselves is
copied, with its port, until there are PORTS of them: through the APIs each would cost a tenth of a second.
Of every ten servers eight are in `blue` and two in `green`; every fourth port has an IPv6 address too; every tenth server has
`rollcall-policy=gold`, every fiftieth `rollcall=off`. Prints how many there are of each, as JSON.
"""
import ipaddress
import json
import random
import re
import sqlite3
import sys
import time
import uuid

DIR, PORTS = sys.argv[1], int(sys.argv[2])
HERE = dict(zip(("identity", "network", "compute"), sys.argv[3:6]))
# As Nova writes it: its pages go wrong where some rows have no fractions.
NOW = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime())
RANDOM = random.Random(20)


def identifier():
    return str(uuid.UUID(int=RANDOM.getrandbits(128), version=4))


def database(path):
    opened = sqlite3.connect(f"{DIR}/{path}", isolation_level=None)
    opened.row_factory = sqlite3.Row
    opened.execute("pragma synchronous = off")
    opened.execute("begin")
    return opened


def where():
    keystone = database("keystone/keystone.db")
    for row in keystone.execute("select e.id, e.url, s.type from endpoint e join service s on s.id = e.service_id").fetchall():
        url = re.sub(r"^http://127\.0\.0\.1:\d+", f"http://127.0.0.1:{HERE[row['type']]}", row["url"])
        keystone.execute("update endpoint set url = ? where id = ?", (url, row["id"]))
    keystone.execute("commit")
    nova = database("nova/nova_api.db")
    for row in nova.execute("select id, database_connection from cell_mappings").fetchall():
        name = row["database_connection"].rsplit("/", 1)[1]
        nova.execute("update cell_mappings set database_connection = ? where id = ?", (f"sqlite:///{DIR}/nova/{name}", row["id"]))
    nova.execute("commit")


class Copies:
    """Rows like those that there are of one thing, with some columns changed."""

    def __init__(self, opened, table, condition, *values):
        self.opened, self.table = opened, table
        self.patterns = [dict(row) for row in opened.execute(f"select * from {table} where {condition}", values)]
        self.rows = []

    def add(self, **changed):
        for pattern in self.patterns:
            self.rows.append({**pattern, **changed})

    def one(self, **values):
        self.rows.append(values)

    def write(self, drop=()):
        if self.rows:
            columns = [column for column in self.rows[0] if column not in drop]
            sql = f"insert into {self.table}({', '.join(columns)}) values({', '.join(':' + column for column in columns)})"
            self.opened.executemany(sql, self.rows)


def unused(network, used):
    for i in range(16, network.num_addresses - 16):
        if (address := str(network[i])) not in used:
            yield address


def servers():
    with open(f"{DIR}/ids.json") as file:
        ids = json.load(file)
    neutron, nova, api = database("neutron/neutron.db"), database("nova/nova.db"), database("nova/nova_api.db")
    first = nova.execute("select * from instances where deleted = 0").fetchone()
    made = neutron.execute("select * from ports where device_id = ?", (first["uuid"],)).fetchone()
    attributes = Copies(neutron, "standardattributes", "id = ?", made["standard_attr_id"])
    ports = Copies(neutron, "ports", "id = ?", made["id"])
    allocations = Copies(neutron, "ipallocations", "port_id = ?", made["id"])
    taken = Copies(neutron, "ipamallocations", "0")
    bindings = Copies(neutron, "ml2_port_bindings", "port_id = ?", made["id"])
    security = Copies(neutron, "portsecuritybindings", "port_id = ?", made["id"])
    groups = Copies(neutron, "securitygroupportbindings", "port_id = ?", made["id"])
    instances = Copies(nova, "instances", "uuid = ?", first["uuid"])
    extra = Copies(nova, "instance_extra", "instance_uuid = ?", first["uuid"])
    caches = Copies(nova, "instance_info_caches", "instance_uuid = ?", first["uuid"])
    system = Copies(nova, "instance_system_metadata", "instance_uuid = ?", first["uuid"])
    metadata = Copies(nova, "instance_metadata", "0")
    mappings = Copies(api, "instance_mappings", "instance_uuid = ?", first["uuid"])
    network_info = json.loads(caches.patterns[0]["network_info"])

    ipam = dict(neutron.execute("select neutron_subnet_id, id from ipamsubnets").fetchall())
    default = {
        row["project_id"]: row["id"] for row in neutron.execute("select id, project_id from securitygroups where name = 'default'")
    }
    macs = {row[0] for row in neutron.execute("select mac_address from ports")}
    standard = neutron.execute("select max(id) from standardattributes").fetchone()[0]
    free = {}
    for name, (cidr, subnet) in {
        f"{network}-{version}": (cidr, ids["subnets"][f"{network}-{version}"])
        for network, six in (("blue", "fd00:10::/64"), ("green", "fd00:20::/64"))
        for version, cidr in ((4, "10.10.0.0/16"), (6, six))
    }.items():
        used = {row[0] for row in neutron.execute("select ip_address from ipallocations where subnet_id = ?", (subnet,))}
        free[name] = unused(ipaddress.ip_network(cidr), used | {"10.10.0.1"})

    counts = {"servers": PORTS, "ports": PORTS, "blue": 1, "green": 0, "ipv6": len(allocations.patterns) - 1, "gold": 0, "off": 0}
    for i in range(1, PORTS):
        network, project = ("green", "globex") if i % 10 in (3, 7) else ("blue", "acme")
        counts[network] += 1
        owner, place = ids["projects"][project], ids["networks"][network]
        server, port, host, name = identifier(), identifier(), f"compute-{i % 40:03}", f"vm-{i:05}"
        standard += 1
        while (mac := "fa:16:3e:%02x:%02x:%02x" % tuple(RANDOM.randrange(256) for _ in range(3))) in macs:
            pass
        macs.add(mac)
        versions = (4, 6) if i % 4 == 0 else (4,)
        counts["ipv6"] += len(versions) - 1
        addresses = []
        attributes.add(id=standard, created_at=NOW, updated_at=NOW)
        ports.add(
            id=port, project_id=owner, name=f"{name}-port", network_id=place, mac_address=mac, device_id=server, standard_attr_id=standard
        )
        for version in versions:
            subnet = ids["subnets"][f"{network}-{version}"]
            address = next(free[f"{network}-{version}"])
            addresses.append((version, subnet, address))
            allocations.one(port_id=port, ip_address=address, subnet_id=subnet, network_id=place)
            taken.one(ip_address=address, status="ALLOCATED", ipam_subnet_id=ipam[subnet])
        bindings.add(port_id=port, host=host)
        security.add(port_id=port)
        groups.add(port_id=port, security_group_id=default[owner])

        instances.add(
            uuid=server, display_name=name, hostname=name, host=host, node=host, project_id=owner, created_at=NOW, updated_at=NOW
        )
        extra.add(instance_uuid=server)
        system.add(instance_uuid=server)
        mappings.add(instance_uuid=server, project_id=owner)
        info = json.loads(json.dumps(network_info))
        info[0].update(id=port, address=mac)
        info[0]["network"].update(id=place, label=network)
        info[0]["network"]["subnets"] = [
            {**info[0]["network"]["subnets"][0], "cidr": None, "version": version,
             "ips": [{**info[0]["network"]["subnets"][0]["ips"][0], "address": address, "version": version}]}
            for version, _, address in addresses
        ]
        caches.add(instance_uuid=server, network_info=json.dumps(info))
        said = {"customer": project}
        if i % 10 == 0:
            counts["gold"] += 1
            said["rollcall-policy"] = "gold"
        if i % 50 == 0:
            counts["off"] += 1
            said["rollcall"] = "off"
        for key, value in said.items():
            metadata.one(instance_uuid=server, key=key, value=value, deleted=0, created_at=NOW)

    for copies in (attributes, ports, allocations, taken, bindings, security, groups):
        copies.write()
    for copies in (instances, extra, caches, system, metadata, mappings):
        copies.write(drop=("id",))
    for opened in (neutron, nova, api):
        opened.execute("commit")
    return counts


where()
print(json.dumps(servers()))
