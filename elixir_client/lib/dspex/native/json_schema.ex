defmodule DSPex.Native.JsonSchema do
  @moduledoc """
  JSON Schema, draft 2020-12, without Python.

  A schema is compiled once and then used as often as wanted. All keywords of the draft work, `$dynamicRef`,
  `$anchor`, embedded `$id` and `unevaluated*` included. Nothing is ever fetched: a reference that leaves the document,
  an unknown dialect and an unknown required vocabulary are errors when the schema is compiled.

      iex> schema = DSPex.Native.JsonSchema.compile!(%{"type" => "object", "required" => ["name"]})
      iex> DSPex.Native.JsonSchema.validate(schema, %{"name" => "Ada"})
      {:ok, %{"name" => "Ada"}}
      iex> {:error, error} = DSPex.Native.JsonSchema.validate(schema, %{})
      iex> error.details["problems"]
      [%{"path" => "", "schema_path" => "/required", "keyword" => "required", "message" => "lacks \\"name\\""}]

  Formats are annotations, as the draft has it; `formats: :assert` checks them. Patterns are ECMA-262 regular
  expressions, run with a bound on their steps. Work is bounded too: a schema whose references blow up gives
  `:limit_exceeded` instead of running for hours.
  """

  alias DSPex.Error
  alias DSPex.Native.JsonSchema.Compiler
  alias DSPex.Native.JsonSchema.Evaluator
  alias DSPex.Native.JsonSchema.Meta

  @enforce_keys [:nodes, :root, :dynamic]
  defstruct [:nodes, :root, :dynamic, track?: false, formats: :annotate, max_steps: 1_000_000]

  @typedoc "A compiled schema: plain data, safe to share between processes."
  @opaque t :: %__MODULE__{
            nodes: %{optional(term) => term},
            root: term,
            dynamic: %{optional({String.t(), String.t()}) => term},
            track?: boolean,
            formats: :annotate | :assert,
            max_steps: pos_integer
          }

  @typedoc "One thing that is wrong: JSON pointers into the instance and along the schema's keywords."
  @type problem :: %{String.t() => String.t()}

  @doc """
  Compiles a schema (a map, `DSPex.Ordered`, `true` or `false`).

  Options:

    * `:formats` – `:annotate` (default) or `:assert`
    * `:max_steps` – how many subschemas one validation may apply (default 1,000,000)
    * `:check` – whether the schema is first validated against its meta-schema (default `true`)

  Returns `{:error, error}` with reason `:invalid_input` for a malformed schema, `:not_found` for a reference that
  cannot be resolved within the document.
  """
  @spec compile(map | boolean | DSPex.Ordered.t(), keyword) :: {:ok, t} | {:error, Error.t()}
  def compile(schema, options \\ []) do
    schema = DSPex.Ordered.plain(schema)

    with :ok <- check(schema, Keyword.get(options, :check, true)),
         {:ok, compiled} <- Compiler.compile(schema, Meta.documents()) do
      {:ok, struct!(__MODULE__, Map.merge(compiled, Map.new(Keyword.take(options, [:formats, :max_steps]))))}
    end
  end

  @doc "As `compile/2`; raises the error."
  @spec compile!(map | boolean | DSPex.Ordered.t(), keyword) :: t
  def compile!(schema, options \\ []) do
    case compile(schema, options) do
      {:ok, compiled} -> compiled
      {:error, error} -> raise error
    end
  end

  @doc """
  Validates an instance. All problems are told at once, in `error.details["problems"]`.

      iex> schema = DSPex.Native.JsonSchema.compile!(%{"items" => %{"minimum" => 3}})
      iex> {:error, error} = DSPex.Native.JsonSchema.validate(schema, [5, 1])
      iex> error.message
      "the value does not fit the schema: /1 is 1, below the minimum 3"
  """
  @spec validate(t, term) :: {:ok, term} | {:error, Error.t()}
  def validate(%__MODULE__{} = schema, instance) do
    case Evaluator.run(schema, DSPex.Ordered.plain(instance)) do
      {:ok, []} -> {:ok, instance}
      {:ok, problems} -> {:error, Error.new(:invalid_input, summary(problems), details: %{"problems" => problems})}
      {:limit, message} -> {:error, Error.new(:limit_exceeded, message)}
    end
  end

  @doc "Whether the instance is valid; a validation that hits a limit counts as not valid."
  @spec valid?(t, term) :: boolean
  def valid?(%__MODULE__{} = schema, instance) do
    Evaluator.run(schema, DSPex.Ordered.plain(instance)) == {:ok, []}
  end

  defp check(_schema, false), do: :ok
  defp check(schema, true) when is_boolean(schema), do: :ok

  defp check(schema, true) when is_map(schema) do
    case Evaluator.run(meta_schema(), schema) do
      {:ok, []} -> :ok
      {:ok, problems} -> {:error, malformed(problems)}
      {:limit, message} -> {:error, Error.new(:limit_exceeded, "the schema is too large: " <> message)}
    end
  end

  defp check(other, true) do
    message = "a JSON Schema is a map, true or false, not #{inspect(other, limit: 5, printable_limit: 60)}"
    {:error, Error.new(:invalid_input, message)}
  end

  # Compiled once for the node, when the first schema is checked.
  defp meta_schema do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        {:ok, compiled} = Compiler.compile(%{"$ref" => Meta.dialect()}, Meta.documents())
        schema = struct!(__MODULE__, compiled)
        :persistent_term.put(__MODULE__, schema)
        schema

      schema ->
        schema
    end
  end

  defp malformed(problems) do
    Error.new(:invalid_input, "the JSON Schema is malformed: " <> tell(hd(problems)), details: %{"problems" => problems})
  end

  defp summary([problem]), do: "the value does not fit the schema: " <> tell(problem)
  defp summary([first | rest]), do: summary([first]) <> " (and #{length(rest)} more)"

  defp tell(%{"path" => "", "message" => message}), do: "the value " <> message
  defp tell(%{"path" => path, "message" => message}), do: path <> " " <> message
end
