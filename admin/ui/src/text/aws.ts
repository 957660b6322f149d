// Commands for the AWS CLI.

/** How a key becomes the profile muster, and a first command with it. ca.pem is where the reader put it. */
export function awsCommands(id: string, secret: string, origin: string): { configure: string; trial: string } {
  const set = (name: string, value: string) => `aws configure set --profile muster ${name} ${value}`;
  return {
    configure: [set('aws_access_key_id', id), set('aws_secret_access_key', secret), set('region', 'local'), set('ca_bundle', '"$PWD/ca.pem"')].join('\n'),
    trial: `aws --profile muster --endpoint-url ${origin} iot list-things`,
  };
}
