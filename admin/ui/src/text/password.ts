/** Whether a password meets every rule. */
export const isGoodPassword = (password: string, username: string) => passwordRules(password, username).every((rule) => rule.met);

/**
 * What the gateway asks of a password, each rule with whether it is met; length beats signs. The gateway also refuses
 * words that guessing starts with, and says so itself.
 */
export function passwordRules(password: string, username: string): { text: string; met: boolean }[] {
  const name = username.trim().toLowerCase();
  const letters = password.replace(/[^\p{L}]/gu, '').toLowerCase();
  return [
    { text: '12 characters or more', met: [...password].length >= 12 },
    { text: 'five different characters or more, some of them letters', met: new Set(password).size >= 5 && letters.length >= 4 },
    { text: 'more than the user name and usual words', met: password !== '' && letters !== name },
  ];
}
