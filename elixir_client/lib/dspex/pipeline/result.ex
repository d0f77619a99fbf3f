defmodule DSPex.Pipeline.Result do
  @moduledoc """
  What a pipeline gave.

    * `fields` – all fields at the end: the inputs, and what the steps gave
    * `steps` – a report for each step that ran, in the order in which they ended
    * `errors` – the errors of steps that failed and were passed over or replaced, as `{step, error}`
    * `usage` – tokens and LM calls of all steps together
    * `duration_ms` – milliseconds, as the caller saw it

  `result["answer"]` reads a field.
  """

  @behaviour Access

  defstruct fields: %{}, steps: [], errors: [], usage: %{}, duration_ms: 0.0

  @typedoc "A step's report; `route` is `:native`, `:python`, `:elixir` or `nil`."
  @type report :: %{
          name: String.t(),
          path: String.t(),
          kind: atom,
          status: :ok | :error,
          route: atom,
          duration_ms: float,
          attempts: pos_integer,
          usage: map,
          error: DSPex.Error.t() | nil
        }

  @type t :: %__MODULE__{
          fields: %{String.t() => term},
          steps: [report],
          errors: [{String.t(), DSPex.Error.t()}],
          usage: map,
          duration_ms: float
        }

  @impl Access
  def fetch(%__MODULE__{fields: fields}, name), do: Map.fetch(fields, to_string(name))

  @impl Access
  def get_and_update(result, name, function) do
    {got, fields} = Map.get_and_update(result.fields, to_string(name), function)
    {got, %{result | fields: fields}}
  end

  @impl Access
  def pop(result, name) do
    {got, fields} = Map.pop(result.fields, to_string(name))
    {got, %{result | fields: fields}}
  end

  @doc """
  Adds up usage maps: numbers by name, and maps within by the same rule.

      iex> DSPex.Pipeline.Result.add_usage(%{"total_tokens" => 1, "by_model" => %{"m" => %{"total_tokens" => 1}}}, %{"total_tokens" => 2})
      %{"total_tokens" => 3, "by_model" => %{"m" => %{"total_tokens" => 1}}}
  """
  @spec add_usage(map, map) :: map
  def add_usage(left, right) do
    Map.merge(left, right, fn
      _name, a, b when is_number(a) and is_number(b) -> a + b
      _name, a, b when is_map(a) and is_map(b) -> add_usage(a, b)
      _name, a, _other -> a
    end)
  end
end
