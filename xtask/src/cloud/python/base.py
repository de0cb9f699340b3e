"""base.py identity|network|floating DIR KEYSTONE NEUTRON NOVA: what every cloud begins with, made through the services' own APIs.

identity: projects, users, roles, the catalog, an application credential. network: networks, subnets, routers.
floating: a floating address for the one server there is by then.
What others need to know of it goes to DIR/ids.json, secrets to files of their own in DIR/secrets.
"""
import json
import os
import sys

import requests

PHASE, DIR, KEYSTONE, NEUTRON, NOVA = sys.argv[1:6]
IDENTITY = f"http://127.0.0.1:{KEYSTONE}/v3"
NETWORK = f"http://127.0.0.1:{NEUTRON}"
COMPUTE = f"http://127.0.0.1:{NOVA}/v2.1"


def secret(name):
    with open(f"{DIR}/secrets/{name}") as file:
        return file.read().strip()


def keep(name, text):
    with open(os.open(f"{DIR}/secrets/{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")


def token(user, password, project):
    domain = {"id": "default"}
    identity = {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": password}}}
    scope = {"project": {"name": project, "domain": domain}}
    answer = requests.post(f"{IDENTITY}/auth/tokens", json={"auth": {"identity": identity, "scope": scope}}, timeout=60)
    if answer.status_code != 201:
        sys.exit(f"base.py: no token for {user}: {answer.status_code} {answer.text[:300]}")
    return answer.headers["X-Subject-Token"]


def call(method, url, body=None, bearer=None):
    answer = requests.request(method, url, json=body, headers={"X-Auth-Token": bearer or ADMIN}, timeout=120)
    if answer.status_code >= 300:
        sys.exit(f"base.py: {method} {url}: {answer.status_code} {answer.text[:500]}")
    return answer.json() if answer.content else {}


def new(where, kind, /, **fields):
    return call("POST", where, {kind: fields})[kind]


def identity():
    roles = {role["name"]: role["id"] for role in call("GET", f"{IDENTITY}/roles")["roles"]}

    def user(name, project, password, granted):
        made = new(f"{IDENTITY}/users", "user", name=name, domain_id="default", password=password)
        for role in granted:
            call("PUT", f"{IDENTITY}/projects/{project}/users/{made['id']}/roles/{roles[role]}")
        return made["id"]

    projects = {
        name: new(f"{IDENTITY}/projects", "project", name=name, domain_id="default")["id"]
        for name in ("service", "acme", "globex", "monitor")
    }
    users = {
        "neutron": user("neutron", projects["service"], secret("service-password"), ["admin"]),
        # Without `service` Nova's own questions to Neutron are refused, and with them every list of servers.
        "nova": user("nova", projects["service"], secret("service-password"), ["admin", "service"]),
        # The least that sees all ports: `reader` alone is answered 200 with an empty list.
        "monitor": user("monitor", projects["monitor"], secret("monitor-password"), ["reader", "service"]),
        # A customer's own account, which owns the servers.
        "acme": user("acme", projects["acme"], secret("service-password"), ["member"]),
    }
    for name, kind, url in (("neutron", "network", NETWORK), ("nova", "compute", COMPUTE)):
        service = new(f"{IDENTITY}/services", "service", name=name, type=kind)["id"]
        for interface in ("public", "internal", "admin"):
            new(f"{IDENTITY}/endpoints", "endpoint", service_id=service, interface=interface, region="RegionOne", url=url)
    own = token("monitor", secret("monitor-password"), "monitor")
    made = call(
        "POST", f"{IDENTITY}/users/{users['monitor']}/application_credentials", {"application_credential": {"name": "rollcall"}}, own
    )["application_credential"]
    keep("application-id", made["id"])
    keep("application-secret", made["secret"])
    keep("application-credential.json", json.dumps({"id": made["id"], "secret": made["secret"]}))
    return {"projects": projects, "users": users, "roles": {name: roles[name] for name in ("admin", "reader", "service")}}


def network():
    with open(f"{DIR}/ids.json") as file:
        ids = json.load(file)
    v2 = f"{NETWORK}/v2.0"
    networks, subnets, routers = {}, {}, {}
    networks["public"] = new(
        f"{v2}/networks", "network", name="public",
        **{"router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"},
    )["id"]
    subnets["public-4"] = new(
        f"{v2}/subnets", "subnet", network_id=networks["public"], ip_version=4, cidr="198.51.100.0/24", name="public-4", enable_dhcp=False
    )["id"]
    # Two customers with the same addresses: an address alone says nothing of whose it is.
    for name, project, six in (("blue", "acme", "fd00:10::/64"), ("green", "globex", "fd00:20::/64")):
        owner = ids["projects"][project]
        networks[name] = new(f"{v2}/networks", "network", name=name, project_id=owner)["id"]
        for version, cidr in ((4, "10.10.0.0/16"), (6, six)):
            subnets[f"{name}-{version}"] = new(
                f"{v2}/subnets", "subnet",
                network_id=networks[name], ip_version=version, cidr=cidr, name=f"{name}-{version}", project_id=owner,
            )["id"]
        routers[name] = new(
            f"{v2}/routers", "router", name=f"{name}-router", project_id=owner, external_gateway_info={"network_id": networks["public"]}
        )["id"]
        call("PUT", f"{v2}/routers/{routers[name]}/add_router_interface", {"subnet_id": subnets[f"{name}-4"]})
    return {**ids, "networks": networks, "subnets": subnets, "routers": routers}


def floating():
    with open(f"{DIR}/ids.json") as file:
        ids = json.load(file)
    v2 = f"{NETWORK}/v2.0"
    port = call("GET", f"{v2}/ports?device_owner=compute:nova")["ports"][0]
    four = next(ip["ip_address"] for ip in port["fixed_ips"] if ":" not in ip["ip_address"])
    made = new(
        f"{v2}/floatingips", "floatingip",
        floating_network_id=ids["networks"]["public"], port_id=port["id"], fixed_ip_address=four, project_id=port["project_id"],
    )
    return {**ids, "floating": {"address": made["floating_ip_address"], "fixed": four, "port": port["id"]}}


ADMIN = token("admin", secret("admin-password"), "admin")
found = {"identity": identity, "network": network, "floating": floating}[PHASE]()
with open(f"{DIR}/ids.json", "w") as file:
    json.dump(found, file, indent=2)
