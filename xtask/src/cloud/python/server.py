"""Servers as they live: what nova-compute would do to them, done to Nova's database by Nova's own objects, and told by Nova's own
notifications, versioned and legacy. There is no nova-compute here, and no machine.

  server.py DIR create NETWORK NAME [KEY=VALUE...]   a port and an ACTIVE server; KEY=VALUE is metadata
  server.py DIR VERB SERVER [SECONDS]                begins, lasts SECONDS (0 unless told), ends; VERB is one of:
                                                     stop start pause unpause suspend resume shelve unshelve reboot
                                                     live-migrate resize confirm-resize delete
  server.py DIR begin VERB SERVER                    only begins: the server keeps its task state until
  server.py DIR end VERB SERVER                      it ends
  server.py DIR metadata SERVER KEY=VALUE...         an empty VALUE takes the key away
  server.py DIR -                                    one of these a line from standard input, to its end

Prints one JSON object for each: {"server", "ports", "addresses", "vm_state", "task_state", "at"}, or {"error"}.
"""
import json
import shlex
import sqlite3
import sys
import time
import uuid

import requests
from keystoneauth1 import loading
from nova import config, context, objects, rpc
from nova.compute import power_state, task_states, utils, vm_states
from nova.network import model
from oslo_utils import timeutils

DIR = sys.argv[1]
config.parse_args(["server.py", "--config-file", f"{DIR}/nova/nova.conf"])
objects.register_all()
with open(f"{DIR}/ids.json") as file:
    IDS = json.load(file)
# Registers what an account consists of.
loading.load_auth_from_conf_options(config.CONF, "neutron")
NEUTRON = config.CONF.neutron

RUNNING = (vm_states.ACTIVE, power_state.RUNNING)
# verb: task state meanwhile, the notifications' action, the states after, the legacy notifications' name.
VERBS = {
    "stop": (task_states.POWERING_OFF, "power_off", (vm_states.STOPPED, power_state.SHUTDOWN)),
    "start": (task_states.POWERING_ON, "power_on", RUNNING),
    "pause": (task_states.PAUSING, "pause", (vm_states.PAUSED, power_state.PAUSED)),
    "unpause": (task_states.UNPAUSING, "unpause", RUNNING),
    "suspend": (task_states.SUSPENDING, "suspend", (vm_states.SUSPENDED, power_state.SUSPENDED)),
    "resume": (task_states.RESUMING, "resume", RUNNING),
    "shelve": (task_states.SHELVING, "shelve", (vm_states.SHELVED, power_state.SHUTDOWN)),
    "unshelve": (task_states.UNSHELVING, "unshelve", RUNNING),
    "reboot": (task_states.REBOOTING, "reboot", RUNNING),
    "live-migrate": (task_states.MIGRATING, "live_migration_post", RUNNING),
    "resize": (task_states.RESIZE_PREP, "resize", (vm_states.RESIZED, power_state.RUNNING)),
    "confirm-resize": (None, "resize_confirm", RUNNING),
    "delete": (task_states.DELETING, "delete", (vm_states.DELETED, power_state.NOSTATE)),
}
LEGACY = {"live_migration_post": "live_migration.post", "resize_confirm": "resize.confirm"}


class Refused(Exception):
    """What was asked for cannot be done."""


class Neutron:
    """Its API, as Nova's own account."""

    def __init__(self):
        self.token, self.url = None, None

    def login(self):
        domain = {"id": "default"}
        user = {"name": NEUTRON.username, "domain": domain, "password": NEUTRON.password}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}},
                         "scope": {"project": {"name": "service", "domain": domain}}}}
        answer = requests.post(f"{NEUTRON.auth_url}/auth/tokens", json=body, timeout=60)
        answer.raise_for_status()
        self.token = answer.headers["X-Subject-Token"]
        catalog = {entry["type"]: entry["endpoints"] for entry in answer.json()["token"]["catalog"]}
        self.url = next(e["url"] for e in catalog["network"] if e["interface"] == "public") + "/v2.0"

    def call(self, method, path, body=None, again=True):
        if self.token is None:
            self.login()
        answer = requests.request(method, self.url + path, json=body, headers={"X-Auth-Token": self.token}, timeout=120)
        if answer.status_code == 401 and again:
            self.token = None
            return self.call(method, path, body, False)
        if answer.status_code >= 300 and not (method == "DELETE" and answer.status_code == 404):
            raise Refused(f"neutron: {method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else {}

    def plugged(self, ports, status, host=None):
        """What the agent on the compute host would tell Neutron of its ports."""
        with sqlite3.connect(f"{DIR}/neutron/neutron.db", timeout=60) as opened:
            for port in ports:
                opened.execute("update ports set status = ? where id = ?", (status, port))
                if host:
                    opened.execute(
                        "update ml2_port_bindings set host = ?, vif_type = 'ovs', status = 'ACTIVE' where port_id = ?", (host, port)
                    )


neutron = Neutron()
CONTEXT = context.get_admin_context()
CONTEXT.project_id, CONTEXT.user_id = IDS["projects"]["service"], IDS["users"]["nova"]
CELL = next(cell for cell in objects.CellMappingList.get_all(CONTEXT) if cell.name == "cell1")
context.set_target_cell(CONTEXT, CELL)


def notify(instance, action, phase):
    legacy = rpc.get_notifier("compute", instance.host)
    utils.notify_about_instance_usage(legacy, CONTEXT, instance, f"{LEGACY.get(action, action)}.{phase}")
    if action == "create":
        utils.notify_about_instance_create(CONTEXT, instance, instance.host, phase=phase)
    else:
        utils.notify_about_instance_action(CONTEXT, instance, instance.host, action, phase=phase)


def found(server):
    fields = ["metadata", "system_metadata", "info_cache", "flavor", "security_groups"]
    return objects.Instance.get_by_uuid(CONTEXT, server, expected_attrs=fields)


def ports_of(instance):
    return [vif["id"] for vif in instance.get_network_info()]


def shown(instance):
    addresses = [ip["address"] for vif in instance.get_network_info() for ip in vif.fixed_ips()]
    return {
        "server": instance.uuid, "ports": ports_of(instance), "addresses": addresses,
        "vm_state": instance.vm_state, "task_state": instance.task_state, "at": time.time(),
    }


def pairs(words):
    if wrong := next((word for word in words if "=" not in word), None):
        raise Refused(f"KEY=VALUE was expected, {wrong!r} was found")
    return dict(word.split("=", 1) for word in words)


def flavor():
    try:
        return objects.Flavor.get_by_flavor_id(CONTEXT, "1")
    except Exception:
        objects.Flavor(
            CONTEXT, name="m1.tiny", memory_mb=512, vcpus=1, root_gb=1, ephemeral_gb=0, flavorid="1", swap=0, rxtx_factor=1.0,
            is_public=True, disabled=False, extra_specs={},
        ).create()
        return objects.Flavor.get_by_flavor_id(CONTEXT, "1")


def create(network, name, *words):
    if network not in ("blue", "green"):
        raise Refused(f"the networks are blue and green, not {network!r}")
    project = IDS["projects"]["acme" if network == "blue" else "globex"]
    server, host = str(uuid.uuid4()), f"compute-{uuid.uuid4().int % 40:03}"
    port = neutron.call("POST", "/ports", {"port": {
        "network_id": IDS["networks"][network], "project_id": project, "name": f"{name}-port", "device_id": server,
        "device_owner": "compute:nova", "binding:host_id": host,
    }})["port"]
    subnets = [
        model.Subnet(cidr=None, version=version, ips=[model.FixedIP(address=ip["ip_address"], version=version)])
        for ip in port["fixed_ips"]
        for version in [6 if ":" in ip["ip_address"] else 4]
    ]
    vif = model.VIF(
        id=port["id"], address=port["mac_address"], type="ovs", active=True,
        network=model.Network(id=port["network_id"], label=network, subnets=subnets),
    )
    info = model.NetworkInfo([vif])
    made = flavor()
    instance = objects.Instance(
        CONTEXT, uuid=server, project_id=project, user_id=IDS["users"]["acme"], display_name=name, hostname=name, host=host,
        vm_state=vm_states.BUILDING, power_state=power_state.NOSTATE, task_state=task_states.SPAWNING, image_ref="",
        memory_mb=made.memory_mb, vcpus=made.vcpus, root_gb=made.root_gb, ephemeral_gb=0, flavor=made, old_flavor=None, new_flavor=None,
        availability_zone="nova", key_name=None, system_metadata={}, metadata=pairs(words),
    )
    instance.create()
    objects.InstanceMapping(
        CONTEXT, instance_uuid=server, project_id=project, user_id=IDS["users"]["acme"], cell_mapping=CELL, queued_for_delete=False
    ).create()
    instance = found(server)
    notify(instance, "create", "start")
    instance.info_cache.network_info = info
    instance.info_cache.save()
    neutron.plugged([port["id"]], "ACTIVE", host)
    instance.vm_state, instance.power_state, instance.task_state = *RUNNING, None
    instance.launched_at = timeutils.utcnow()
    instance.save()
    notify(instance, "create", "end")
    return shown(instance)


def begin(verb, server):
    task, action, _ = VERBS[verb]
    instance = found(server)
    instance.task_state = task
    instance.save(expected_task_state=[None, task])
    notify(instance, action, "start")
    return shown(instance)


def end(verb, server):
    _, action, (vm_state, power) = VERBS[verb]
    instance = found(server)
    ports = ports_of(instance)
    if verb == "delete":
        for port in ports:
            neutron.call("DELETE", f"/ports/{port}")
        mapping = objects.InstanceMapping.get_by_instance_uuid(CONTEXT, server)
        mapping.queued_for_delete = True
        mapping.save()
        instance.terminated_at = timeutils.utcnow()
    elif verb == "live-migrate":
        instance.host = f"compute-{(int(instance.host[-3:]) + 1) % 40:03}"
        for port in ports:
            neutron.call("PUT", f"/ports/{port}", {"port": {"binding:host_id": instance.host}})
    instance.vm_state, instance.power_state, instance.task_state = vm_state, power, None
    instance.save()
    if verb == "delete":
        instance.destroy()
    else:
        running = power == power_state.RUNNING
        neutron.plugged(ports, "ACTIVE" if running else "DOWN", instance.host if running else None)
    notify(instance, action, "end")
    return shown(instance)


def metadata(server, *words):
    instance = found(server)
    for key, value in pairs(words).items():
        if value:
            instance.metadata[key] = value
        else:
            instance.metadata.pop(key, None)
    instance.save()
    # nova-api, which would do this, tells the metadata in an update.
    from nova.notifications import base

    base.send_update(CONTEXT, instance, instance, service="api")
    return shown(instance)


def act(words):
    verb, *rest = words
    counted = {"create": (2, None), "begin": (2, 2), "end": (2, 2), "metadata": (2, None)}.get(verb, (1, 2))
    known = verb in VERBS or verb in ("create", "begin", "end", "metadata")
    if not known or len(rest) < counted[0] or (counted[1] and len(rest) > counted[1]):
        raise Refused(f"cannot do {' '.join(words)!r}: see the head of server.py")
    if verb in ("begin", "end") and rest[0] not in VERBS:
        raise Refused(f"there is no verb {rest[0]!r}: {' '.join(VERBS)}")
    if verb in ("create", "begin", "end", "metadata"):
        return {"create": create, "begin": begin, "end": end, "metadata": metadata}[verb](*rest)
    begin(verb, rest[0])
    time.sleep(float(rest[1]) if len(rest) == 2 else 0)
    return end(verb, rest[0])


def answer(words):
    try:
        said = act(words)
    except Exception as error:  # whatever Nova says, the next line is still read
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
    return "error" not in said


def main(words):
    if words == ["-"]:
        for line in sys.stdin:
            if line.strip():
                answer(shlex.split(line))
        return 0
    if not words:
        sys.exit(__doc__)
    return 0 if answer(words) else 1


sys.exit(main(sys.argv[2:]))
