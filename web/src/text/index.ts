import { apps } from './apps';
import { people } from './people';
import { shell } from './shell';

/** Every word that the pages say. Another language is another folder like this. */
export const text = { ...shell, ...apps, ...people };
