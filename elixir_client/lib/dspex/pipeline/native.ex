defmodule DSPex.Pipeline.Native do
  @moduledoc """
  The operations of `{:native, name, options}`: what a pipeline can do without Python and without a function.

  | name | needs | gives | options |
  |---|---|---|---|
  | `:template` | the names of the template | `as` | `template` (text), `as` (default `"text"`) |
  | `:json_schema` | `field` | nothing: it checks | `schema`, `field` |
  | `:parse_json` | `field` | `as` (default `field`) | `field` |
  | `:normalize` | `field` | `as` (default `field`) | `field` |
  | `:exact_match`, `:f1` | `field`, `reference` | `as` (default `"score"`) | `field`, `reference` |
  | `:rename` | `field` | `as` | `field`, `as` |
  """

  alias DSPex.Error
  alias DSPex.Native.JsonSchema
  alias DSPex.Native.Metrics
  alias DSPex.Native.Template

  @names [:template, :json_schema, :parse_json, :normalize, :exact_match, :f1, :rename]

  @doc "The names of the operations."
  @spec names() :: [atom]
  def names, do: @names

  @doc """
  Prepares an operation: what it needs and gives, and a body for `run/2`. Raises `ArgumentError` for wrong options.

      iex> {["question"], ["prompt"], _body} = DSPex.Pipeline.Native.prepare(:template, template: "{{question}}", as: "prompt")
      iex> DSPex.Pipeline.Native.prepare(:template, [])
      ** (ArgumentError) {:native, :template} needs the option template
  """
  @spec prepare(atom, keyword) :: {[String.t()], [String.t()], tuple}
  def prepare(:template, options) do
    template = options |> required(:template, :template) |> Template.parse() |> ok!(:template)
    {:ok, needs} = Template.validate(template)
    as = Keyword.get(options, :as, "text")
    {needs |> Enum.map(&hd(String.split(&1, "."))) |> Enum.uniq(), [as], {:template, template, as}}
  end

  def prepare(:json_schema, options) do
    schema = options |> required(:schema, :json_schema) |> JsonSchema.compile() |> ok!(:json_schema)
    field = required(options, :field, :json_schema)
    {[field], [], {:json_schema, schema, field}}
  end

  def prepare(name, options) when name in [:parse_json, :normalize] do
    field = required(options, :field, name)
    as = Keyword.get(options, :as, field)
    {[field], [as], {name, field, as}}
  end

  def prepare(name, options) when name in [:exact_match, :f1] do
    {field, reference} = {required(options, :field, name), required(options, :reference, name)}
    as = Keyword.get(options, :as, "score")
    {[field, reference], [as], {name, field, reference, as}}
  end

  def prepare(:rename, options) do
    {field, as} = {required(options, :field, :rename), required(options, :as, :rename)}
    {[field], [as], {:rename, field, as}}
  end

  def prepare(name, _options) do
    raise ArgumentError, "no native operation #{inspect(name)}; there are #{Enum.map_join(@names, ", ", &inspect/1)}"
  end

  @doc "Runs a prepared operation on the fields."
  @spec run(tuple, map) :: {:ok, map} | {:error, Error.t()}
  def run({:template, template, as}, fields), do: template |> Template.render(fields) |> give(as)

  def run({:json_schema, schema, field}, fields) do
    with {:ok, _value} <- JsonSchema.validate(schema, fields[field]), do: {:ok, %{}}
  end

  def run({:parse_json, field, as}, fields) do
    case DSPex.Wire.Json.library().decode(fields[field]) do
      {:ok, raw} -> {:ok, %{as => plain(raw)}}
      {:error, problem} -> {:error, Error.new(:invalid_input, "the field #{field} is no JSON: #{problem}")}
    end
  end

  def run({:normalize, field, as}, fields), do: {:ok, %{as => Metrics.normalize(fields[field])}}
  def run({:rename, field, as}, fields), do: {:ok, %{as => fields[field]}}

  def run({:exact_match, field, reference, as}, fields) do
    {:ok, %{as => Metrics.exact_match(fields[field], List.wrap(fields[reference]))}}
  end

  def run({:f1, field, reference, as}, fields) do
    {:ok, %{as => Metrics.f1(fields[field], List.wrap(fields[reference]))}}
  end

  defp give({:ok, value}, as), do: {:ok, %{as => value}}
  defp give(error, _as), do: error

  defp plain({pairs}), do: Map.new(pairs, fn {key, value} -> {key, plain(value)} end)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(value), do: value

  defp required(options, name, operation) do
    case Keyword.fetch(options, name) do
      {:ok, value} -> value
      :error -> raise ArgumentError, "{:native, #{inspect(operation)}} needs the option #{name}"
    end
  end

  defp ok!({:ok, value}, _operation), do: value
  defp ok!({:error, error}, operation), do: raise(ArgumentError, "{:native, #{inspect(operation)}}: #{error.message}")
end
