import * as z from "zod";

/** A field of a JSON schema, as pages show it. */
export interface Field {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  /** Bounds and default: "1 to 64; default 1". */
  readonly bounds: string;
  readonly description: string;
}

interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly description?: string;
}

/** The fields of an object's schema, in its order. */
export function fieldsOf(schema: unknown): readonly Field[] {
  const { properties = {}, required = [] } = schema as Schema;
  return Object.entries(properties).map(([name, property]) => ({
    name,
    type: typeOf(property),
    required: required.includes(name),
    bounds: boundsOf(property),
    description: property.description ?? "",
  }));
}

/** The fields of a result. */
export function resultFields(output: z.ZodType): readonly Field[] {
  return fieldsOf(z.toJSONSchema(output, { io: "output", unrepresentable: "any" }));
}

function typeOf(schema: Schema): string {
  const { type, enum: choices, anyOf, oneOf, items, additionalProperties, properties } = schema;
  const several = anyOf ?? oneOf;
  if (several !== undefined) return [...new Set(several.map(typeOf))].join(" or ");
  if (choices !== undefined) return choices.map((choice) => JSON.stringify(choice)).join(", ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (type === "array") return `list of ${items === undefined ? "values" : typeOf(items)}`;
  if (type === "object" && properties !== undefined) return `object (${Object.keys(properties).join(", ")})`;
  if (type === "object" && typeof additionalProperties === "object")
    return `object of ${typeOf(additionalProperties)}`;
  return typeof type === "string" ? type : "any";
}

function boundsOf({ minimum, maximum, default: value }: Schema): string {
  const isBound = (limit: number | undefined): limit is number =>
    limit !== undefined && Math.abs(limit) < Number.MAX_SAFE_INTEGER;
  const least = isBound(minimum) ? `from ${minimum}` : "";
  const most = isBound(maximum) ? `to ${maximum}` : "";
  const range = [least, most].filter((part) => part !== "").join(" ");
  return [range, value === undefined ? "" : `default ${JSON.stringify(value)}`]
    .filter((part) => part !== "")
    .join("; ");
}
