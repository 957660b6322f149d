// Policy documents and ARNs, as far as the UI looks into them. The gateway checks what it is given; this only spares a round.

/** What a new policy says: the least that a device needs. */
export const startingPolicy = JSON.stringify(
  {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: ['iot:Connect'], Resource: ['arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}'] },
      {
        Effect: 'Allow',
        Action: ['iot:Publish', 'iot:RetainPublish', 'iot:Receive'],
        Resource: ['arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}', 'arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*'],
      },
      { Effect: 'Allow', Action: ['iot:Subscribe'], Resource: ['arn:aws:iot:*:*:topicfilter/dt/${iot:Connection.Thing.ThingName}/*'] },
    ],
  },
  null,
  2,
);

/** Why a text cannot be a policy; undefined where it may be one. */
export function policyProblem(text: string): string | undefined {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    return `Not JSON yet: ${(cause as Error).message}`;
  }
  const { Version, Statement } = (document ?? {}) as { Version?: unknown; Statement?: unknown };
  if (Version !== '2012-10-17') return 'Version must be "2012-10-17".';
  if (!Array.isArray(Statement) || Statement.length === 0) return 'Statement must be a list of at least one statement.';
  return undefined;
}

/** What an ARN stands for: arn:aws:iot:REGION:ACCOUNT:KIND/NAME. */
export function targetName(arn: string): { kind: string; name: string } {
  const rest = arn.split(':').slice(5).join(':');
  const slash = rest.indexOf('/');
  return { kind: rest.slice(0, slash), name: rest.slice(slash + 1) };
}
