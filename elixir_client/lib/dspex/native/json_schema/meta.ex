defmodule DSPex.Native.JsonSchema.Meta do
  @moduledoc """
  The meta-schemas of draft 2020-12, shipped in `proto/json_schema/`, so that schemas can be checked and referred to
  without a network.
  """

  @external_resource Path.expand("../../../../../proto/json_schema/draft2020-12.json", __DIR__)
  @dialect "https://json-schema.org/draft/2020-12/schema"
  @vocabularies Enum.map(
                  ~w(core applicator unevaluated validation meta-data format-annotation content),
                  &"https://json-schema.org/draft/2020-12/vocab/#{&1}"
                )

  {:ok, read} = @external_resource |> File.read!() |> DSPex.Wire.Json.Plain.decode()

  plain = fn
    {pairs}, plain -> Map.new(pairs, fn {key, value} -> {key, plain.(value, plain)} end)
    list, plain when is_list(list) -> Enum.map(list, &plain.(&1, plain))
    value, _plain -> value
  end

  @documents plain.(read, plain)["documents"]

  @doc "The URI of the one dialect that is known."
  @spec dialect() :: String.t()
  def dialect, do: @dialect

  @doc "The vocabularies that are understood."
  @spec vocabularies() :: [String.t()]
  def vocabularies, do: @vocabularies

  @doc "The meta-schema documents: the dialect's, then one for each vocabulary."
  @spec documents() :: [map]
  def documents, do: @documents
end
