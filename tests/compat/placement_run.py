"""What tests/compat/placement runs in its virtual environment."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60  # seconds for a controller to start, or for one HTTP answer
NEWEST = '1.39'


class Controller:
    """`canopy serve` on a free port with an empty database, and an admin's and a tenant's token."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='canopy-placement.')
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self.port = probe.getsockname()[1]
        config = os.path.join(self.folder, 'canopy.toml')
        with open(config, 'w') as file:
            file.write(f'listen = "127.0.0.1:{self.port}"\ndata_dir = "{self.folder}/data"\n'
                       '[log]\nfilter = "warn"\n[agent]\nenabled = false\n')
        self.log = open(os.path.join(self.folder, 'log'), 'w+')
        self.process = subprocess.Popen([os.environ['CANOPY'], 'serve', '--config', config],
                                        stdout=self.log, stderr=self.log)
        self.url = f'http://127.0.0.1:{self.port}'
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self.send('GET', '/readyz')[0] == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > until:
                self.log.seek(0)
                raise SystemExit('the controller does not start:\n' + self.log.read()[-2000:])
            time.sleep(0.05)
        self.password = password(self.folder)
        self.admin = self.login('admin', self.password, 'admin')
        self.tenant = self.someone('user')

    def login(self, name, secret, project):
        domain = {'id': 'default'}
        body = {'auth': {
            'identity': {'methods': ['password'],
                         'password': {'user': {'name': name, 'password': secret, 'domain': domain}}},
            'scope': {'project': {'name': project, 'domain': domain}}}}
        status, headers, answer = self.send('POST', '/identity/v3/auth/tokens', body=body)
        if status != 201:
            raise SystemExit(f'login of {name}: {status} {answer[:300]}')
        return headers['x-subject-token']

    def someone(self, name):
        """A project, and a member of it."""
        def made(kind, more):
            body = {kind: dict(name=name, **more)}
            return json.loads(self.send('POST', f'/identity/v3/{kind}s', self.admin, body)[2])[kind]['id']
        project, user = made('project', {}), made('user', {'password': 'correct horse battery'})
        role = json.loads(self.send('GET', '/identity/v3/roles?name=member', self.admin)[2])['roles'][0]['id']
        self.send('PUT', f'/identity/v3/projects/{project}/users/{user}/roles/{role}', self.admin)
        return self.login(name, 'correct horse battery', name)

    def send(self, method, path, token=None, body=None, headers=None, raw=None):
        headers = dict(headers or {})
        if token:
            headers['x-auth-token'] = token
        if body is not None:
            headers['content-type'] = 'application/json'
            raw = json.dumps(body).encode()
        if raw is not None:
            headers.setdefault('content-length', str(len(raw)))
        # By hand: nothing is sent that the caller did not ask for.
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(raw)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def placement(self, method, path, body=None, version=NEWEST):
        """Answers what came, and fails on what is not a success."""
        version = {'openstack-api-version': f'placement {version}'}
        status, _, answer = self.send(method, '/placement' + path, self.admin, body, version)
        if status >= 300:
            raise RuntimeError(f'{method} {path}: {status} {answer[:300]}')
        return json.loads(answer) if answer else None

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def password(folder):
    for top, _, names in os.walk(os.path.join(folder, 'data')):
        for name in names:
            if 'admin' in name and 'password' in name:
                with open(os.path.join(top, name)) as file:
                    return file.read().strip()
    return 'correct horse battery'


HERE_NOW = None  # the controller of the file that runs


def app(environ, start_response):
    """A WSGI application that passes everything on, as the service would serve it at the root."""
    headers = {key[5:].replace('_', '-').lower(): value for key, value in environ.items() if key.startswith('HTTP_')}
    if environ.get('CONTENT_TYPE'):
        headers['content-type'] = environ['CONTENT_TYPE']
    headers.pop('host', None)
    headers.pop('connection', None)
    known = {'admin': HERE_NOW.admin, 'user': HERE_NOW.tenant}
    if 'x-auth-token' in headers:
        who = headers['x-auth-token'].split(':')[0]
        headers['x-auth-token'] = known.get(who, HERE_NOW.tenant)
    length = environ.get('CONTENT_LENGTH') or ''
    raw = environ['wsgi.input'].read(int(length)) if length.isdigit() else None
    if length and not length.isdigit():
        headers['content-length'] = length
    path = environ.get('PATH_INFO', '')
    try:
        path = path.encode('latin-1')
    except UnicodeEncodeError:
        path = path.encode()
    path = urllib.parse.quote(path, safe="/:@!$&'()*+,;=~-._")
    if environ.get('QUERY_STRING'):
        path += '?' + environ['QUERY_STRING']
    if raw is None and environ['REQUEST_METHOD'] in ('POST', 'PUT') and not length:
        raw = b''
    status, answer_headers, body = HERE_NOW.send(environ['REQUEST_METHOD'], '/placement' + path, headers=headers, raw=raw)
    host = environ.get('HTTP_HOST', 'localhost')
    kept = []
    for name, value in answer_headers.items():
        if name in ('connection', 'transfer-encoding', 'content-length'):
            continue
        if name == 'location':
            value = value.replace(HERE_NOW.url + '/placement', f'http://{host}')
        kept.append((str(name), str(value)))
    if body:
        body = body.replace(b'"/placement/', b'"/').replace(b'"/placement"', b'"/"')
        kept.append(('content-length', str(len(body))))
    elif status != 204:
        kept.append(('content-length', '0'))
    reason = {200: 'OK', 404: 'Not Found'}.get(status, 'Status')
    start_response(f'{status} {reason}', kept)
    return [body]


class Provider:
    def __init__(self, id):
        self.uuid = id

    def put(self, what, body):
        now = HERE_NOW.placement('GET', f'/resource_providers/{self.uuid}')['generation']
        HERE_NOW.placement('PUT', f'/resource_providers/{self.uuid}/{what}',
                           dict(body, resource_provider_generation=now))

    def set_aggregates(self, aggregates):
        self.put('aggregates', {'aggregates': list(aggregates)})


class Named:
    """A user, a project or a consumer."""

    def __init__(self, context=None, external_id=None, **other):
        self.uuid = self.external_id = external_id or str(uuid.uuid4())
        self.__dict__.update(other)

    def create(self):
        pass


class Fixtures:
    """What the service's fixtures call of its test helpers, through the API."""

    @staticmethod
    def create_provider(context, name, *aggregates, parent=None, **more):
        id = more.get('uuid') or str(uuid.uuid4())
        HERE_NOW.placement('POST', '/resource_providers', {'name': name, 'uuid': id, 'parent_provider_uuid': parent})
        provider = Provider(id)
        if aggregates:
            provider.set_aggregates(aggregates)
        return provider

    @staticmethod
    def add_inventory(provider, name, total, **more):
        custom(name, 'resource_classes')
        path = f'/resource_providers/{provider.uuid}/inventories'
        known = HERE_NOW.placement('GET', path)['inventories']
        provider.put('inventories', {'inventories': dict(known, **{name: dict(more, total=total)})})

    @staticmethod
    def set_traits(provider, *traits):
        for name in traits:
            custom(name, 'traits')
        provider.put('traits', {'traits': list(traits)})

    @staticmethod
    def create_user_and_project(context, prefix='fake'):
        return Named(external_id=f'{prefix}-user'), Named(external_id=f'{prefix}-project')

    @staticmethod
    def ensure_consumer(context, user, project, consumer_id=None):
        return Named(external_id=consumer_id, user=user, project=project)

    @staticmethod
    def set_allocation(context, provider, consumer, resources):
        HERE_NOW.placement('PUT', f'/allocations/{consumer.uuid}', {
            'allocations': {provider.uuid: {'resources': resources}}, 'consumer_generation': None,
            'project_id': consumer.project.external_id, 'user_id': consumer.user.external_id}, version='1.37')


def custom(name, kind):
    if name.startswith('CUSTOM_'):
        HERE_NOW.placement('PUT', f'/{kind}/{name}')


class Class:
    def __init__(self, context=None, name=None):
        self.name = name

    def create(self):
        custom(self.name, 'resource_classes')


def prepared():
    """The service's fixtures module, writing through the API."""
    from placement.tests.functional.fixtures import gabbits

    def start(self):
        global HERE_NOW
        HERE_NOW = Controller()
        self.context = None
        for name in ('RP_UUID', 'RP_NAME', 'RP_UUID1', 'RP_NAME1', 'RP_UUID2', 'RP_NAME2', 'PROJECT_ID',
                     'ADMIN_PROJECT_ID', 'SERVICE_PROJECT_ID', 'USER_ID', 'PROJECT_ID_ALT', 'USER_ID_ALT',
                     'INSTANCE_UUID', 'MIGRATION_UUID', 'CONSUMER_UUID', 'PARENT_PROVIDER_UUID',
                     'ALT_PARENT_PROVIDER_UUID'):
            os.environ[name] = str(uuid.uuid4())
        for number in ('', '1', '2'):
            os.environ['CUSTOM_RES_CLASS' + number] = 'CUSTOM_IRON_NFV' + number

    def stop(self):
        global HERE_NOW
        HERE_NOW.stop()
        HERE_NOW = None

    gabbits.APIFixture.start_fixture, gabbits.APIFixture.stop_fixture = start, stop
    gabbits.tb = Fixtures
    gabbits.rc_obj.ResourceClass = Class
    gabbits.user_obj.User = gabbits.project_obj.Project = Named
    return gabbits


def reasons():
    """By pattern of a test's id, why it is not due."""
    with open(os.path.join(HERE, 'placement-due.tsv')) as lines:
        rows = [line.rstrip('\n').split('\t') for line in lines if line.strip() and not line.startswith('#')]
    return [(re.compile(pattern), why) for pattern, why in rows]


class Outcome(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.passed, self.bad = [], {}

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.append(name(test))

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.bad[name(test)] = str(error[1])

    def addError(self, test, error):
        super().addError(test, error)
        self.bad[name(test)] = f'{error[0].__name__}: {error[1]}'


def name(test):
    return getattr(test, 'test_data', {}).get('name') or str(test)


def gabbi_tests(files, not_due, everything):
    from gabbi import driver
    import placement.tests.functional as functional
    folder = os.path.join(os.path.dirname(functional.__file__), 'gabbits')
    files = files or sorted(file[:-5] for file in os.listdir(folder) if file.endswith('.yaml'))
    fixtures, total = prepared(), Outcome()
    skipped = 0
    for file in files:
        whole = next((why for pattern, why in not_due if pattern.fullmatch(file)), None)
        if whole and not everything:
            import yaml
            with open(os.path.join(folder, file + '.yaml')) as text:
                skipped += len(yaml.safe_load(text)['tests'])
            continue
        alone = tempfile.mkdtemp(prefix='canopy-gabbi.')
        shutil.copy(os.path.join(folder, file + '.yaml'), alone)
        suite = driver.build_tests(alone, unittest.TestLoader(), host=None, intercept=lambda: app,
                                   test_loader_name=file, fixture_module=fixtures)
        outcome = Outcome()
        suite.run(outcome)
        shutil.rmtree(alone)
        print(f'{file}: {len(outcome.passed)} of {len(outcome.passed) + len(outcome.bad)}', flush=True)
        total.passed += [f'{file}/{one}' for one in outcome.passed]
        total.bad.update({f'{file}/{one}': why for one, why in outcome.bad.items()})
    return total, skipped


def main():
    arguments = sys.argv[1:]
    everything = '--all' in arguments
    files = [argument for argument in arguments if not argument.startswith('-')]
    gabbits = [file for file in files if file != 'commands'] if files != ['commands'] else None
    not_due = reasons()
    outcome, skipped = gabbi_tests(gabbits, not_due, everything) if gabbits is not None else (Outcome(), 0)
    waiting = {test: why for test in [*outcome.bad, *outcome.passed]
               for pattern, why in not_due if pattern.fullmatch(test) or pattern.fullmatch(test.split('/')[0])}
    broken = {test: why for test, why in outcome.bad.items() if test not in waiting}
    for test, why in broken.items():
        print(f'FAILED {test}: {why[:400]}')
    for test in outcome.passed:
        if test in waiting:
            print(f'passes before it is due: {test}')
    all_of_them = len(outcome.passed) + len(outcome.bad) + skipped
    print(f'{len(outcome.passed)} of {all_of_them} tests of the placement service passed, '
          f'{all_of_them - len(outcome.passed) - len(broken)} are not due, {len(broken)} failed')
    commands = 0
    if not files or 'commands' in files:
        sys.path.insert(0, HERE)
        import placement_commands
        controller = Controller()
        try:
            commands = placement_commands.run(controller)
        finally:
            controller.stop()
    sys.exit(1 if broken or commands else 0)


main()
