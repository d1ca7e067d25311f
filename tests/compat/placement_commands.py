"""Every command of osc-placement against a controller, and whether what one writes the next shows."""
import contextlib
import importlib.metadata
import io
import json
import os
import uuid

NEWEST = '1.39'


class Failed(Exception):
    pass


class Client:
    """The `openstack` command, in this process."""

    def __init__(self, controller):
        self.tried = set()
        os.environ.update(OS_AUTH_URL=controller.url + '/identity/v3', OS_USERNAME='admin',
                          OS_PASSWORD=controller.password, OS_PROJECT_NAME='admin', OS_USER_DOMAIN_ID='default',
                          OS_PROJECT_DOMAIN_ID='default', OS_IDENTITY_API_VERSION='3', NO_PROXY='*')
        os.environ.pop('OS_CLOUD', None)

    def run(self, command, *arguments, fails=None):
        from openstackclient import shell
        self.tried.add(command.replace(' ', '_'))
        out, err = io.StringIO(), io.StringIO()
        argv = ['--os-placement-api-version', NEWEST, *command.split(), *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = shell.main(argv)
            except SystemExit as end:
                code = end.code or 0
        text = out.getvalue() + err.getvalue()
        if fails is not None:
            if not code or fails not in text:
                raise Failed(f'{" ".join(argv)}: should have failed with "{fails}": {code} {text[-500:]}')
            return None
        if code:
            raise Failed(f'{" ".join(argv)}: {code} {text[-500:]}')
        return out.getvalue()

    def json(self, command, *arguments, **more):
        return json.loads(self.run(command, *arguments, '-f', 'json', **more))


def must(condition, what):
    if not condition:
        raise Failed(what)


def providers(client, ids):
    made = client.json('resource provider create', 'host')
    ids['host'] = made['uuid']
    ids['child'] = client.json('resource provider create', 'child', '--parent-provider', ids['host'])['uuid']
    listed = client.json('resource provider list', '--in-tree', ids['child'])
    must({one['name'] for one in listed} == {'host', 'child'}, listed)
    client.json('resource provider set', ids['child'], '--name', 'device')
    shown = client.json('resource provider show', ids['child'])
    must((shown['name'], shown['root_provider_uuid']) == ('device', ids['host']), shown)
    client.run('resource provider create', 'host', fails='Conflicting resource provider name')


def classes(client, ids):
    client.run('resource class create', 'CUSTOM_WIDGET')
    client.run('resource class set', 'CUSTOM_GADGET')
    must(client.json('resource class show', 'CUSTOM_GADGET')['name'] == 'CUSTOM_GADGET', 'class show')
    client.run('resource class delete', 'CUSTOM_GADGET')
    names = {one['name'] for one in client.json('resource class list')}
    must({'VCPU', 'CUSTOM_WIDGET'} <= names and 'CUSTOM_GADGET' not in names, names)
    client.run('resource class delete', 'VCPU', fails='Cannot delete standard resource class')


def inventories(client, ids):
    client.json('resource provider inventory set', ids['host'], '--resource', 'VCPU=8',
                '--resource', 'VCPU:allocation_ratio=2.0', '--resource', 'MEMORY_MB=1024',
                '--resource', 'CUSTOM_WIDGET=2')
    client.json('resource provider inventory class set', ids['host'], 'CUSTOM_WIDGET', '--total', '4', '--step_size', '2')
    shown = client.json('resource provider inventory show', ids['host'], 'CUSTOM_WIDGET')
    must((shown['total'], shown['step_size']) == (4, 2), shown)
    shown = client.json('resource provider inventory show', ids['host'], 'VCPU')
    must((shown['total'], shown['allocation_ratio']) == (8, 2.0), shown)
    client.run('resource provider inventory set', ids['child'], '--resource', 'VGPU=2')
    client.run('resource provider inventory delete', ids['host'], '--resource-class', 'CUSTOM_WIDGET')
    listed = client.json('resource provider inventory list', ids['host'])
    must({one['resource_class'] for one in listed} == {'VCPU', 'MEMORY_MB'}, listed)


def traits(client, ids):
    client.run('trait create', 'CUSTOM_FAST')
    client.run('trait create', 'CUSTOM_OLD')
    client.run('trait delete', 'CUSTOM_OLD')
    must(client.json('trait show', 'CUSTOM_FAST')['name'] == 'CUSTOM_FAST', 'trait show')
    must([one['name'] for one in client.json('trait list', '--name', 'startswith:CUSTOM_')] == ['CUSTOM_FAST'], 'list')
    client.run('resource provider trait set', ids['host'], '--trait', 'CUSTOM_FAST', '--trait', 'HW_CPU_X86_AVX2')
    listed = client.json('resource provider trait list', ids['host'])
    must({one['name'] for one in listed} == {'CUSTOM_FAST', 'HW_CPU_X86_AVX2'}, listed)
    found = client.json('resource provider list', '--required', 'CUSTOM_FAST', '--resource', 'VCPU=1')
    must([one['uuid'] for one in found] == [ids['host']], found)
    client.run('trait delete', 'CUSTOM_FAST', fails='is in use by a resource provider')


def aggregates(client, ids):
    group = str(uuid.uuid4())
    now = client.json('resource provider show', ids['host'])['generation']
    client.run('resource provider aggregate set', ids['host'], '--aggregate', group, '--generation', str(now))
    listed = client.json('resource provider aggregate list', ids['host'])
    must([one['uuid'] for one in listed] == [group], listed)
    client.run('resource provider aggregate set', ids['host'], '--aggregate', group, '--generation', str(now), fails='409')
    found = client.json('resource provider list', '--member-of', group)
    must([one['uuid'] for one in found] == [ids['host']], found)


def candidates(client, ids):
    found = client.json('allocation candidate list', '--resource', 'VCPU=2', '--required', 'CUSTOM_FAST')
    must([one['resource provider'] for one in found] == [ids['host']], found)
    found = client.json('allocation candidate list', '--resource', 'VCPU=1', '--group', '1', '--resource', 'VGPU=1',
                        '--group-policy', 'none')
    must({one['resource provider'] for one in found} == {ids['host'], ids['child']}, found)
    must(client.json('allocation candidate list', '--resource', 'VCPU=99') == [], 'candidates for too much')


def allocations(client, ids):
    consumer, owner = str(uuid.uuid4()), ['--project-id', str(uuid.uuid4()), '--user-id', str(uuid.uuid4())]
    client.run('resource provider allocation set', consumer, '--allocation', f'rp={ids["host"]},VCPU=2,MEMORY_MB=64',
               *owner, '--consumer-type', 'INSTANCE')
    client.run('resource provider allocation set', consumer, '--allocation', f'rp={ids["host"]},VCPU=3,MEMORY_MB=64',
               *owner, '--consumer-type', 'INSTANCE')
    shown = client.json('resource provider allocation show', consumer)
    must(shown[0]['resources'] == {'VCPU': 3, 'MEMORY_MB': 64}, shown)
    usage = {one['resource_class']: one['usage'] for one in client.json('resource provider usage show', ids['host'])}
    must(usage == {'VCPU': 3, 'MEMORY_MB': 64}, usage)
    usage = client.json('resource usage show', owner[1])[0]
    must((usage['resource_class'], usage['usage']['VCPU']) == ('INSTANCE', 3), usage)
    client.run('resource provider allocation unset', consumer, '--provider', ids['host'], '--resource-class', 'VCPU')
    shown = client.json('resource provider allocation show', consumer)
    must(shown[0]['resources'] == {'MEMORY_MB': 64}, shown)
    client.run('resource provider delete', ids['host'], fails='409')
    client.run('resource provider allocation delete', consumer)
    must(client.json('resource provider allocation show', consumer) == [], 'allocations are gone')


def ends(client, ids):
    client.run('resource provider trait delete', ids['host'])
    client.run('resource provider inventory delete', ids['host'])
    client.run('resource provider delete', ids['child'])
    client.run('resource provider delete', ids['host'])
    client.run('resource provider show', ids['host'], fails='No resource provider with uuid')
    must(client.json('resource provider list') == [], 'providers are gone')


def run(controller):
    """How many of the steps failed."""
    client, ids, failed = Client(controller), {}, 0
    for step in (providers, classes, inventories, traits, aggregates, candidates, allocations, ends):
        try:
            step(client, ids)
            print(f'osc-placement, {step.__name__}: ok', flush=True)
        except (Failed, KeyError, ValueError, TypeError) as error:
            failed += 1
            print(f'FAILED osc-placement, {step.__name__}: {type(error).__name__}: {error}', flush=True)
    known = {point.name for point in importlib.metadata.entry_points(group='openstack.placement.v1')}
    for command in sorted(known - client.tried):
        failed += 1
        print(f'FAILED osc-placement: {command} was not tried')
    print(f'{len(known & client.tried)} of {len(known)} commands of osc-placement tried, {failed} failed')
    return failed
