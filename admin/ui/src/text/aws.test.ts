import { expect, test } from 'vitest';
import { awsCommands } from './aws';

test('commands for the AWS CLI', () => {
  const { configure, trial } = awsCommands('AKMSX', 'se-cret', 'https://10.0.0.1:8443');
  expect(configure.split('\n')).toEqual([
    'aws configure set --profile muster aws_access_key_id AKMSX',
    'aws configure set --profile muster aws_secret_access_key se-cret',
    'aws configure set --profile muster region local',
    'aws configure set --profile muster ca_bundle "$PWD/ca.pem"',
  ]);
  expect(trial).toBe('aws --profile muster --endpoint-url https://10.0.0.1:8443 iot list-things');
});
